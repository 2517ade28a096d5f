// Steps the dream player over a sheet of frames, and copies the command.
for (const player of document.querySelectorAll(".player")) {
  const sheet = new Image();
  const { episodes, frames, width, height, context, ms, lengths } = JSON.parse(
    player.querySelector("script").textContent);
  const canvas = player.querySelector("canvas");
  const slider = player.querySelector("input");
  const button = player.querySelector("button");
  const phase = player.querySelector(".phase");
  const gap = Math.max(1, Math.round(width / 12));
  const paint = canvas.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let timer = null;
  canvas.width = episodes * width + (episodes - 1) * gap;
  canvas.height = 3 * height + 2 * gap;
  slider.max = frames - 1;

  function draw() {
    const frame = Number(slider.value);
    paint.clearRect(0, 0, canvas.width, canvas.height);
    for (let episode = 0; episode < episodes; episode++) {
      // An episode that is over keeps its last frame, faded.
      const shown = Math.min(frame, lengths[episode] - 1);
      paint.globalAlpha = shown < frame ? 0.35 : 1;
      for (let row = 0; row < 3; row++)
        paint.drawImage(sheet, shown * width, (episode * 3 + row) * height,
          width, height, episode * (width + gap), row * (height + gap), width, height);
    }
    const ahead = frame - context + 1;
    phase.textContent = `frame ${frame + 1} of ${frames}: ` + (ahead > 0
      ? `imagined, ${ahead} step${ahead > 1 ? "s" : ""} ahead` : "context, seen by the model");
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }
  function play() {
    timer = setInterval(() => {
      slider.value = (Number(slider.value) + 1) % frames;
      draw();
    }, ms);
    button.textContent = "Pause";
  }
  button.addEventListener("click", () => (timer ? pause() : play()));
  slider.addEventListener("input", () => { pause(); draw(); });
  sheet.onload = () => { draw(); if (!still) play(); };
  sheet.src = player.querySelector("img").src;
}
for (const button of document.querySelectorAll(".command button"))
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
      button.textContent = "Selected";
    }
  });
