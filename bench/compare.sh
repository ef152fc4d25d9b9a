#!/usr/bin/env bash
# What the gate costs beside plain pass-through: CPU time of each process per request, in one interleaved run.
#
#   cargo build --release --workspace && bench/compare.sh
#
# Parts: the demo's issuer and CRM server, a gate of its own with one worker, `portcullis-passthrough` with one thread,
# and the closed-loop load driver; loopback only, bounded, ends by itself. CPU time is read from /proc/PID/stat, so it
# holds on a busy machine too; the latencies of a closed loop are for orientation alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=target/release
calls=${CALLS:-20000}
rounds=${ROUNDS:-3}
work=$(mktemp -d)
started=()
trap 'for pid in "${started[@]}"; do kill -INT "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT

"$bin/portcullis" demo --format json --keep "$work/demo" >"$work/demo.json" &
started+=($!)
until [ -s "$work/demo.json" ]; do sleep 0.1; done
python3 - "$work" <<'PY'
import json, sys
from urllib.parse import urlparse

work = sys.argv[1]
demo = json.load(open(f"{work}/demo.json"))
config = json.load(open(f"{work}/demo/portcullis.yaml"))
config["listen"][0]["address"] = "127.0.0.1:0"
config["audit"]["directory"] = "compared"
for server in config["servers"]:
    server["rate"] = {"per_second": 1_000_000, "burst": 1_000_000}
json.dump(config, open(f"{work}/demo/compared.yaml", "w"))
upstream, gate = urlparse(config["servers"][0]["upstream"]["url"]), urlparse(demo["servers"]["crm"]["endpoint"])
open(f"{work}/token", "w").write(demo["servers"]["crm"]["tokens"]["alice"] + "\n")
open(f"{work}/parts", "w").write(f"upstream={upstream.netloc}\nupstream_path={upstream.path}\nhost={gate.netloc}\n")
PY
. "$work/parts"
"$bin/portcullis" run --workers 1 --log warn -c "$work/demo/compared.yaml" >"$work/gate" &
gate=$!
started+=("$gate")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$bin/portcullis-passthrough" "$port" "$upstream" 1 >"$work/pass" &
pass=$!
started+=("$pass")
until grep -q listening "$work/gate" && grep -q listening "$work/pass"; do sleep 0.1; done
address=$(sed -n 's#listening http://##p' "$work/gate")
until curl -fs "http://$address/readyz" >/dev/null; do sleep 0.1; done

ticks() { awk '{print $14, $15}' "/proc/$1/stat"; }
round() {
    local name=$1 pid=$2 before after
    shift 2
    before=$(ticks "$pid")
    "$bin/portcullis-loadgen" "$@" --connections 4 --requests "$calls" >"$work/report"
    after=$(ticks "$pid")
    python3 - "$name" "$calls" "$(getconf CLK_TCK)" $before $after <<'PY'
import sys
name, calls, hz = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
user, kernel = [(int(sys.argv[i + 2]) - int(sys.argv[i])) * 1e6 / hz / calls for i in (4, 5)]
print(f"{name:13} {user + kernel:6.1f} us CPU a request: {user:6.1f} user {kernel:6.1f} kernel")
PY
    sed "s/^/$(printf '%14s' '')/" "$work/report"
}
for _ in $(seq "$rounds"); do
    round pass-through "$pass" --address "127.0.0.1:$port" --host "$upstream" --path "$upstream_path"
    round gate "$gate" --address "$address" --host "$host" --path /crm/mcp --token-file "$work/token"
done
