"""The support set in a prompt, beside the other ways to use it: results/prompts*.{md,json,png}."""
