"""What `parsl-pool check` does: looks at a Config, tries it, and says what is wrong and what to do."""
