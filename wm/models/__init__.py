"""World models: functions that step a state the way a task does."""
