"""A host of its own, for tests that kill it or run it as another user.

python sandbox_host.py CONTEXT facts    print what a cell sees, as JSON
python sandbox_host.py CONTEXT hang     print the session folder, then wait to be killed
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from outcore.kernel_sandbox import Kernel, KernelSpec

FACTS = """
import json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
facts = {key: status[key].split() for key in
    ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs',
     'Seccomp')}
facts['env'] = sorted(os.environ)
facts['root'] = sorted(os.listdir('/'))
facts['pids'] = sorted(int(one) for one in os.listdir('/proc') if one.isdigit())
facts['interfaces'] = [line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line]
print(json.dumps(facts))
"""

ESCAPEES = """
import os, time
print(flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
while True: pass
"""


async def handler(op: str, params: dict[str, Any]) -> Any:
    """Answer every call the same."""
    return f"re: {params.get('prompt')}"


async def main() -> None:
    """Do what the second argument says."""
    kernel = await Kernel.start(KernelSpec(context=Path(sys.argv[1])), handler)
    async with kernel:
        if sys.argv[2] == "facts":
            seen = await kernel.run(FACTS, seconds=20)
            asked = await kernel.run("llm_query('x')", seconds=20)
            assert asked.output == "'re: x'\n", asked
            facts = json.loads(seen.output)
            facts["host_uid"] = os.getuid()
            print(json.dumps(facts))
            return
        print(kernel.folder, flush=True)
        await kernel.run(ESCAPEES, seconds=600)


asyncio.run(main())
