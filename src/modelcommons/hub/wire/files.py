"""files: trees, paths, preupload and the bytes themselves, as huggingface_hub asks for them."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
