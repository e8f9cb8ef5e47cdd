"""Published experiments: their settings as TOML, and the commands that make the pages under results/."""
