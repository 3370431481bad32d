"""``virtagent net``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from virtagent.cli.default_command import DefaultGroup
from virtagent.cli.main import shared_options
from virtagent.cli.output import say
from virtagent.cli.session import with_guest
from virtagent.cli.table import show_table
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json

if TYPE_CHECKING:
    from virtagent.api.network import Dns, Interface, Neighbour, Port, Route
    from virtagent.host.guest import Guest

__all__ = ["command"]

MAIN = 254
"""The main routing table."""


@click.group(
    cls=DefaultGroup,
    epilog="""\b
Examples:
  virtagent --to web1 net
  virtagent --to web1 net ports --json
  virtagent --to web1 net addr add eth0 192.0.2.7/24
  virtagent --to web1 net route add default --via 192.0.2.1
  virtagent --to web1 net up eth0""",
)
def command() -> None:
    """Show and change the guest's network. What is changed stays until the next boot."""


@command.command("show")
@shared_options
def show(settings: Settings) -> int:
    """Interfaces, the main routes, DNS, and the ports that are listened on."""

    async def work(guest: Guest) -> None:
        network = guest.network
        interfaces, routes = await network.interfaces(), await network.routes()
        dns, ports = await network.dns(), await network.ports()
        if settings.json:
            say(to_json({"interfaces": interfaces, "routes": routes, "dns": dns, "ports": ports}))
            return
        show_interfaces(interfaces)
        say("")
        show_routes(routes)
        say("")
        show_dns(dns)
        say("")
        show_ports(ports)

    return with_guest(settings, work)


def show_interfaces(interfaces: Sequence[Interface]) -> None:
    """A row for each, and one for each further address."""
    rows: list[tuple[object, ...]] = []
    for each in interfaces:
        texts = [f"{address.address}/{address.prefix}" + note(address.state) for address in each.addresses] or [""]
        state = each.state if each.up else "off"
        rows.append((each.name, state, each.kind, each.mac, each.mtu, texts[0]))
        rows += [("", "", "", "", "", text) for text in texts[1:]]
    show_table(("INTERFACE", "STATE", "KIND", "MAC", "MTU", "ADDRESS"), rows, right=("MTU",))


def note(text: str) -> str:
    """In brackets, if there is anything."""
    return f" ({text})" if text else ""


def show_routes(routes: Sequence[Route]) -> None:
    """A row for each."""
    rows = [
        (
            each.destination + note("" if each.kind == "unicast" else each.kind),
            each.gateway,
            each.interface,
            each.source,
            each.metric or None,
            each.protocol,
        )
        for each in routes
    ]
    show_table(("DESTINATION", "GATEWAY", "INTERFACE", "SOURCE", "METRIC", "BY"), rows, right=("METRIC",))


def show_neighbours(neighbours: Sequence[Neighbour]) -> None:
    """A row for each."""
    rows = [
        (each.address, each.mac, each.interface, each.state + note("router" if each.router else ""))
        for each in neighbours
    ]
    show_table(("NEIGHBOUR", "MAC", "INTERFACE", "STATE"), rows)


def show_ports(ports: Sequence[Port]) -> None:
    """A row for each."""
    rows = [(each.port, each.protocol, each.address, each.user, each.pid, each.program) for each in ports]
    show_table(("PORT", "PROTOCOL", "ADDRESS", "UID", "PID", "PROGRAM"), rows, right=("PORT", "UID", "PID"))


def show_dns(dns: Dns) -> None:
    """A line for each of what there is."""
    told = [
        ("servers", dns.servers),
        ("upstream", dns.upstream),
        ("search", dns.search),
        ("options", dns.options),
        ("manager", [dns.manager] if dns.manager else []),
    ]
    for name, values in told:
        if values:
            say(f"{'dns ' + name + ':':15} {one_line(' '.join(values))}")


def listing(name: str, does: str, show_them: Any) -> None:
    """A command that lists one kind of thing: a JSON value for each, or a table."""

    @command.command(name, help=does)
    @shared_options
    def run(settings: Settings) -> int:
        async def work(guest: Guest) -> None:
            found = await getattr(guest.network, name)()
            if not settings.json:
                show_them(found)
            else:
                for each in found if isinstance(found, list) else [found]:
                    say(to_json(each))

        return with_guest(settings, work)


listing("interfaces", "List interfaces with their addresses.", show_interfaces)


@command.command("routes")
@click.option("--all", "all_tables", is_flag=True, help="Of all routing tables, not only the main one.")
@shared_options
def routes(settings: Settings, all_tables: bool) -> int:
    """List routes."""

    async def work(guest: Guest) -> None:
        found = await guest.network.routes(table=None if all_tables else MAIN)
        if not settings.json:
            show_routes(found)
        else:
            for each in found:
                say(to_json(each))

    return with_guest(settings, work)


listing("neighbours", "List the machines on the links.", show_neighbours)
listing("ports", "List ports that are listened on, with the process that does.", show_ports)
listing("dns", "Show how names are resolved.", show_dns)


def change(settings: Settings, work: Any) -> int:
    """Change something of an interface, and show what became of it if JSON is wanted."""

    async def run(guest: Guest) -> None:
        found = await work(guest.network)
        if settings.json and found is not None:
            say(to_json(found))

    return with_guest(settings, run)


@command.command("up")
@click.argument("interface")
@shared_options
def up(settings: Settings, interface: str) -> int:
    """Switch an interface on."""
    return change(settings, lambda network: network.set_interface(interface, up=True))


@command.command("down")
@click.argument("interface")
@shared_options
def down(settings: Settings, interface: str) -> int:
    """Switch an interface off. Mind the one that you came through."""
    return change(settings, lambda network: network.set_interface(interface, up=False))


@command.command("mtu")
@click.argument("interface")
@click.argument("size", type=click.IntRange(68, 2**31 - 1), metavar="BYTES")
@shared_options
def mtu(settings: Settings, interface: str, size: int) -> int:
    """Change the size of an interface's largest packet."""
    return change(settings, lambda network: network.set_interface(interface, mtu=size))


@command.group("addr")
def addr() -> None:
    """Add and remove addresses."""


@addr.command("add")
@click.argument("interface")
@click.argument("address", metavar="ADDRESS/PREFIX")
@shared_options
def addr_add(settings: Settings, interface: str, address: str) -> int:
    """Give an interface an address."""
    return change(settings, lambda network: network.add_address(interface, address))


@addr.command("del")
@click.argument("interface")
@click.argument("address", metavar="ADDRESS/PREFIX")
@shared_options
def addr_del(settings: Settings, interface: str, address: str) -> int:
    """Take an address away from an interface."""
    return change(settings, lambda network: network.remove_address(interface, address))


@command.group("route")
def route() -> None:
    """Add and remove routes."""


def route_options(function: Any) -> Any:
    """What says which route is meant."""
    for option in (
        click.option(
            "--table", type=click.IntRange(1, 2**32 - 1), metavar="N", help="Another table than the main one."
        ),
        click.option("--metric", type=click.IntRange(0, 2**32 - 1), metavar="N", help="The lowest one counts."),
        click.option("--dev", metavar="INTERFACE", help="The interface."),
        click.option("--via", metavar="ADDRESS", help="The gateway."),
        click.argument("destination", metavar="NETWORK|default"),
    ):
        function = option(function)
    return function


@route.command("add")
@route_options
@shared_options
def route_add(
    settings: Settings, destination: str, via: str | None, dev: str | None, metric: int | None, table: int | None
) -> int:
    """Add a route."""
    return change(
        settings,
        lambda network: network.add_route(destination, gateway=via, interface=dev, metric=metric, table=table),
    )


@route.command("del")
@route_options
@shared_options
def route_del(
    settings: Settings, destination: str, via: str | None, dev: str | None, metric: int | None, table: int | None
) -> int:
    """Remove a route."""
    return change(
        settings,
        lambda network: network.remove_route(destination, gateway=via, interface=dev, metric=metric, table=table),
    )
