"""What the service does: jobs, from submission to the webhook and the clean-up."""
