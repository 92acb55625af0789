"""Members over HTTP: who is shown, who goes, and whose jobs are whose."""

from typing import Any

import pytest

from billing.keys import Scope
from jobs.ids import iso_utc
from tests.handlers.clients import Apiframe, kept_job
from tests.running import Clock, Customer

NOBODY = "usr_0123456789abcdef"


def team_of(customer: Apiframe) -> Any:
    return customer.get("/members").json()["members"]


def added(customer: Apiframe, **body: Any) -> Any:
    answer = customer.post("/members", json={"name": "Bo", "email": "bo@example.org"} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def by_their_key(customer: Apiframe, member_id: str) -> Apiframe:
    """The same team by a member's key."""
    body = {"name": "theirs", "memberId": member_id, "scopes": [*Scope]}
    made = customer.post("/keys", json=body).json()
    assert made["memberId"] == member_id

    class Theirs(Apiframe):
        @property
        def headers(self) -> dict[str, str]:
            return {"X-API-Key": made["key"]}

    return Theirs(customer.service, customer.customer)


def removed(customer: Apiframe, member_id: str) -> Any:
    url = f"/v2/members/{member_id}"
    return customer.service.http.delete(url, headers=customer.headers)


def test_a_team_begins_with_who_opened_the_account(apiframe: Apiframe) -> None:
    (founder,) = team_of(apiframe)
    assert (founder["id"], founder["role"], founder["state"]) == (
        apiframe.customer.id, "owner", "active",
    )  # fmt: skip


def test_a_member_is_added_and_listed(apiframe: Apiframe, clock: Clock) -> None:
    member = added(apiframe, name=" Bo ", role="owner")
    assert member == {
        "id": member["id"], "name": "Bo", "email": "bo@example.org", "role": "owner",
        "state": "active", "createdAt": iso_utc(clock()),
    }  # fmt: skip
    assert team_of(apiframe)[1:] == [member]


def test_a_members_key_says_who_they_are_and_whose_the_credits(apiframe: Apiframe) -> None:
    member = added(apiframe)
    me = by_their_key(apiframe, member["id"]).get("/me").json()
    assert me["user"] == {"id": member["id"], "email": "bo@example.org", "role": "member"}
    assert (me["team"]["id"], me["team"]["credits"]) == (apiframe.customer.id, 1000)


def test_the_scope_of_user_is_a_members_own_jobs(apiframe: Apiframe, photo: str) -> None:
    member = added(apiframe)
    theirs = by_their_key(apiframe, member["id"])
    mine_id, their_id = apiframe.submitted(photo), theirs.submitted(photo)
    assert kept_job(apiframe.service, their_id).ordered_by == member["id"]

    def listed(customer: Apiframe, scope: str) -> set[str]:
        return {job["id"] for job in customer.get("/jobs", scope=scope).json()["jobs"]}

    assert listed(apiframe, "user") == {str(mine_id)}
    assert listed(theirs, "user") == {str(their_id)}
    assert listed(apiframe, "team") == listed(theirs, "team") == {str(mine_id), str(their_id)}


def test_a_member_who_is_removed_is_let_in_no_more(apiframe: Apiframe, photo: str) -> None:
    member = added(apiframe)
    theirs = by_their_key(apiframe, member["id"])
    job_id = theirs.submitted(photo)
    answer = removed(apiframe, member["id"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert theirs.get("/me").status_code == 401
    assert apiframe.get(f"/jobs/{job_id}").status_code == 200
    assert len(team_of(apiframe)) == 1


def test_members_may_remove_themselves(apiframe: Apiframe) -> None:
    member = added(apiframe)
    theirs = by_their_key(apiframe, member["id"])
    assert removed(theirs, member["id"]).status_code == 204
    assert theirs.get("/members").status_code == 401


def test_who_opened_the_account_cannot_be_removed(apiframe: Apiframe) -> None:
    answer = removed(apiframe, apiframe.customer.id)
    told = "Who opened the account cannot be removed: it would be nobody's"
    assert (answer.status_code, answer.json()) == (409, {"error": told})


@pytest.mark.parametrize("member_id", [NOBODY, "nobody", "usr_%00"])
def test_who_is_nobody_is_not_found(apiframe: Apiframe, member_id: str) -> None:
    assert removed(apiframe, member_id).status_code == 404
    if member_id == NOBODY:
        answer = apiframe.post("/keys", json={"name": "x", "memberId": member_id})
        assert (answer.status_code, answer.json()) == (404, {"error": f"No such member: {NOBODY}"})


def test_another_accounts_member_is_not_found(apiframe: Apiframe) -> None:
    stranger = Apiframe(apiframe.service, Customer(apiframe.service.account().opened))
    assert removed(stranger, added(apiframe)["id"]).status_code == 404
    assert len(team_of(apiframe)) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"email": "bo"},
        {"email": "bo@example"},
        {"email": "b o@example.org"},
        {"email": "bo@@example.org"},
        {"email": "bo@example..org"},
        {"email": f"{'x' * 250}@example.org"},
        {"email": None},
        {"role": "admin"},
        {"surname": "x"},
    ],
)
def test_a_member_who_makes_no_sense_is_refused(apiframe: Apiframe, wrong: Any) -> None:
    body = {"name": "Bo", "email": "bo@example.org"} | wrong
    answer = apiframe.post("/members", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "Validation error")
    assert len(team_of(apiframe)) == 1
