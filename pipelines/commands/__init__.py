"""The commands of tdmq-backup for rules and runs: a thin face on ``pipelines.rules``."""
