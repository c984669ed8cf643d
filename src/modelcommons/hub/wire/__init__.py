"""the door for programs: Hugging Face HTTP, LFS, Xet and git over HTTP."""
