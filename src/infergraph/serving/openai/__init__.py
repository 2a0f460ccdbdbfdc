"""OpenAI's Files and Batches API over the task endpoint."""
