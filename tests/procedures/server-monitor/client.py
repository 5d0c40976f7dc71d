"""Asks the proxy without a pause until FILE.stop is there; FILE then has how many requests failed, and who answered.

FILE.began is there with the first answer; each of two clients asks once more after the stop.
"""
import collections, json, pathlib, sys, threading, urllib.request

result = pathlib.Path(sys.argv[1])
stop, began = (result.with_suffix(end) for end in (".stop", ".began"))
count, lock, faults = collections.Counter(failed=0), threading.Lock(), []


def ask():
    try:
        with urllib.request.urlopen("http://127.0.0.1:8600/health", timeout=20) as answer:
            who, fault = json.load(answer)["version"], None
    except Exception as error:
        who, fault = "failed", repr(error)
    with lock:
        count[who] += 1
        if fault:
            faults.append(fault)


def client():
    last = False
    while not last:
        last = stop.exists()
        ask()
        began.touch()


clients = [threading.Thread(target=client) for _ in range(2)]
for one in clients:
    one.start()
for one in clients:
    one.join()
print(dict(count), *faults[:5], file=sys.stderr)
whole = result.with_suffix(".new")
whole.write_text(json.dumps({"failed": count.pop("failed"), "versions": sorted(count)}))
whole.rename(result)
