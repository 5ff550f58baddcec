"""Stores the events of an engine in a database, each exactly once: consumer.py SOCKET DATABASE"""
import http.client, json, socket, sqlite3, sys, time


class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])


def save(journal, seq, what):
    with db:  # one transaction: the result and the position, or neither
        db.execute("INSERT INTO result VALUES (?, ?, ?)", (journal, seq, what))
        db.execute("REPLACE INTO position VALUES (1, ?, ?)", (journal, seq))
    print(seq, what, flush=True)


def follow():
    journal, seq = db.execute("SELECT journal, seq FROM position").fetchone() or ("", 0)
    engine = Engine("engine")
    engine.request("GET", f"/events?cursor={seq}&journal={journal}")
    answer = engine.getresponse()
    if answer.status == 410:  # the engine has no longer all events after the position
        has = json.load(answer)
        return save(has["journal"], has["oldest"] - 1, "gap")
    if answer.status != 200:
        raise http.client.HTTPException(answer.read().decode())
    for line in answer:
        if not line.endswith(b"\n"):
            return  # the engine was killed in the middle of the line: the event comes again
        event = json.loads(line)
        save(answer.headers["Engine-Lite-Journal"], event["seq"], event["Action"])


db = sqlite3.connect(sys.argv[2])
db.execute("CREATE TABLE IF NOT EXISTS result (journal, seq, what)")
db.execute("CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY, journal, seq)")
while True:
    try:
        follow()
    except (OSError, http.client.HTTPException) as e:
        print(e, file=sys.stderr)
    time.sleep(0.1)
