#!/usr/bin/python3
import asyncio, signal, subprocess, sys
import virtagent
from virtagent.service.loading import load_folder
from virtagent.guest.agent import AgentService
from virtagent.guest.files import FilesService
from virtagent.guest.log import LogService
from virtagent.guest.system import SystemService

async def main():
    loading = load_folder("/etc/virtagent/services")
    for p in loading.problems: print("problem", p, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    services = [AgentService(), FilesService(), LogService(), SystemService()]
    listeners = [virtagent.listen(u, services=services, handlers=loading.handlers, role="guest", name="guest", keepalive=0.5) for u in sys.argv[1:]]
    tasks = [asyncio.create_task(l.start()) for l in listeners]
    print("interim: ready", flush=True)
    await stop.wait()
    level = subprocess.run(["runlevel"], capture_output=True, text=True).stdout.split()[1]
    reason = {"6": "reboot", "0": "shutdown"}.get(level, "stop")
    await asyncio.gather(*(l.aclose(reason) for l in listeners))
    for t in tasks: t.cancel()
asyncio.run(main())
