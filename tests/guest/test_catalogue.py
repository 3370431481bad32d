from __future__ import annotations

import subprocess
import sys

import pytest

from virtagent.guest.catalogue import SERVICES, make_service, services_later
from virtagent.guest.grants import ROLES
from virtagent.guest.resources import Resources
from virtagent.service.service import handlers_of, service_name
from virtagent.service.serving import router_of


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_found_under_its_own_name(name: str) -> None:
    assert service_name(type(make_service(name, Resources()))) == name


@pytest.mark.parametrize("name", SERVICES)
def test_each_method_says_what_a_policy_must_grant(name: str) -> None:
    handlers = handlers_of(make_service(name, Resources()))
    assert {each.role for each in handlers} <= set(ROLES)
    assert all(each.description is not None and each.description["since"] for each in handlers)


def test_an_agent_loads_no_service_that_nobody_called() -> None:
    code = (
        "import sys\n"
        "import virtagent.guest.daemon\n"
        "from virtagent.guest.catalogue import SERVICES\n"
        "print(*[each for each in SERVICES.values() if each.partition(':')[0] in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []


def test_a_service_is_made_once_when_one_of_its_methods_is_wanted() -> None:
    guarded: list[str] = []

    def guard(handler):  # type: ignore[no-untyped-def]
        guarded.append(handler.name)
        return handler

    router = router_of(later=services_later(Resources(), guard))
    assert guarded == []
    assert router.find("system.info") is not None
    assert router.find("system.info") is router.get("system.info")
    assert router.find("system.no-such") is None
    assert all(each.startswith("system.") for each in guarded)
    assert "files.read" in router
    assert len(guarded) == len(set(guarded))


def test_all_methods_are_told_of_before_they_are_loaded() -> None:
    router = router_of(later=services_later(Resources(), lambda handler: handler))
    names = {each.name for each in router}
    assert {"files.read", "log.kernel", "system.info", "bench.echo", "rpc.methods"} <= names
    assert "agent.no-such" not in router


def test_a_service_that_cannot_be_made_does_not_take_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("virtagent.guest.catalogue.SERVICES", {**SERVICES, "broken": "virtagent.guest.no_such:Broken"})
    router = router_of(later=services_later(Resources(), lambda handler: handler))
    assert router.find("broken.method") is None
    assert "the service broken cannot be made" in caplog.text
    assert "system.info" in {each.name for each in router}
