"""The service ``network``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtagent.api.network import (
    AddressText,
    Dns,
    Interface,
    InterfaceName,
    Metric,
    Mtu,
    Neighbour,
    Network,
    NetworkText,
    Port,
    Route,
    Table,
)
from virtagent.errors import Unavailable
from virtagent.guest.resources import GuestService
from virtagent.service.options import in_thread

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["NetworkService"]


def _netlink() -> ModuleType:
    """The module that needs pyroute2.

    Raises:
        Unavailable: it is not there.
    """
    try:
        from virtagent.guest import netlink  # noqa: PLC0415 - loads pyroute2
    except ImportError:
        raise Unavailable("this needs pyroute2 in the guest: install virtagent[guest]") from None
    return netlink


class NetworkService(GuestService, Network):
    """Answers from netlink, /proc/net and resolv.conf(5)."""

    @in_thread
    def interfaces(self) -> list[Interface]:
        found: list[Interface] = _netlink().interfaces()
        return found

    @in_thread
    def routes(self, *, table: Table | None = 254) -> list[Route]:
        found: list[Route] = _netlink().routes(table)
        return found

    @in_thread
    def neighbours(self) -> list[Neighbour]:
        found: list[Neighbour] = _netlink().neighbours()
        return found

    @in_thread
    def ports(self) -> list[Port]:
        from virtagent.guest.ports import listening_ports  # noqa: PLC0415 - few hosts ask

        return listening_ports()

    @in_thread
    def dns(self) -> Dns:
        from virtagent.guest.dns import read_dns  # noqa: PLC0415 - few hosts ask

        return read_dns()

    @in_thread
    def set_interface(self, name: InterfaceName, *, up: bool | None = None, mtu: Mtu | None = None) -> Interface:
        found: Interface = _netlink().set_interface(name, up=up, mtu=mtu)
        return found

    @in_thread
    def add_address(self, interface: InterfaceName, address: NetworkText) -> Interface:
        found: Interface = _netlink().add_address(interface, address)
        return found

    @in_thread
    def remove_address(self, interface: InterfaceName, address: NetworkText) -> Interface:
        found: Interface = _netlink().remove_address(interface, address)
        return found

    @in_thread
    def add_route(
        self,
        destination: NetworkText,
        *,
        gateway: AddressText | None = None,
        interface: InterfaceName | None = None,
        metric: Metric | None = None,
        table: Table | None = None,
    ) -> None:
        _netlink().add_route(destination, gateway=gateway, interface=interface, metric=metric, table=table)

    @in_thread
    def remove_route(
        self,
        destination: NetworkText,
        *,
        gateway: AddressText | None = None,
        interface: InterfaceName | None = None,
        metric: Metric | None = None,
        table: Table | None = None,
    ) -> None:
        _netlink().remove_route(destination, gateway=gateway, interface=interface, metric=metric, table=table)
