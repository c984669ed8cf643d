"""repos: create, delete, move, set up, list and describe repositories, as huggingface_hub asks for it."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
