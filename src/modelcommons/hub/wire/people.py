"""people: profiles of users and organisations, as huggingface_hub asks for them. The hub keeps no follows."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from modelcommons.hub.actions import people
from modelcommons.hub.actions.people import Person
from modelcommons.hub.permissions import Principal
from modelcommons.hub.wire import doors
from modelcommons.hub.wire.discussions import time

router = APIRouter(tags=["people"])

Anyone = Annotated[Principal, Depends(doors.anyone)]


@router.get("/api/users/{user}/overview")
def user(request: Request, who: Anyone) -> dict[str, Any]:
    found = people.user(doors.stores(request), who, doors.segment(request, "user"))
    return (
        _person(found.person)
        | _counts(found.num_repos)
        | {
            "type": "user",
            "isPro": False,
            "isFollowing": False,
            "numDiscussions": found.num_discussions,
            "numLikes": found.num_likes,
            "numUpvotes": 0,
            "numPapers": 0,
            "numFollowers": 0,
            "numFollowing": 0,
            "orgs": [{"name": one.name, "fullname": one.fullname, "avatarUrl": ""} for one in found.orgs],
            "createdAt": time(found.created),
        }
    )


@router.get("/api/users/{user}/followers")
@router.get("/api/users/{user}/following")
def follows_of_user(request: Request, who: Anyone) -> list[dict[str, Any]]:
    people.exists(doors.stores(request), doors.segment(request, "user"), "user")
    return []


@router.get("/api/organizations/{org}/overview")
def organisation(request: Request, who: Anyone) -> dict[str, Any]:
    found = people.organisation(doors.stores(request), who, doors.segment(request, "org"))
    return (
        {"name": found.person.name, "fullname": found.person.fullname, "avatarUrl": ""}
        | _counts(found.num_repos)
        | {
            "type": "org",
            "isVerified": False,
            "isFollowing": False,
            "numUsers": found.num_users,
            "numFollowers": 0,
            "numPapers": 0,
            "createdAt": time(found.created),
        }
    )


@router.get("/api/organizations/{org}/members")
def members(request: Request, who: Anyone) -> list[dict[str, Any]]:
    found = people.in_organisation(doors.stores(request), doors.segment(request, "org"))
    return [_person(one.person) | {"type": "user", "isPro": False, "role": one.role} for one in found]


@router.get("/api/organizations/{org}/followers")
def followers_of_organisation(request: Request, who: Anyone) -> list[dict[str, Any]]:
    people.exists(doors.stores(request), doors.segment(request, "org"), "org")
    return []


def _person(person: Person) -> dict[str, Any]:
    return {"user": person.name, "fullname": person.fullname, "avatarUrl": ""}


def _counts(num_repos: dict[str, int]) -> dict[str, int]:
    return {"numModels": num_repos["model"], "numDatasets": num_repos["dataset"], "numSpaces": num_repos["space"]}
