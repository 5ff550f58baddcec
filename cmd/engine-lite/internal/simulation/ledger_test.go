package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/engine-lite/engine-lite/journal"
	"github.com/engine-lite/engine-lite/libcontainerd"
)

// ledger is the model: what truly happened, as the daemon's processes did it,
// and what the journal says. The second is compared with the first, and the
// journal's records with its events, after each write.
type ledger struct {
	w *world

	mu         sync.Mutex
	truth      map[int]*fate // by pid
	containers map[string]*history
	execs      map[string]*execHistory
	events     []told // by number, from 1
	ended      atomic.Int64
}

// fate is what truly became of a process.
type fate struct {
	container string
	ended     bool
	exit      libcontainerd.Exit
	forgotten bool // by the daemon
	lost      bool // forgotten while it lived
}

// told is one event of the journal.
type told struct{ action, id string }

// history is what the journal has told of a container so far.
type history struct {
	status     string // that follows from the events
	starts     int
	deaths     int
	generation uint64
	pid        int
	code       int
	oom        bool
	execs      map[string]bool
	removed    bool
}

func (h *history) alive() bool { return h.status == "running" || h.status == "paused" }

type execHistory struct {
	pid, code int
	ended     bool
}

// recordView is what the ledger reads of an engine's record.
type recordView struct {
	Status     string
	Pid        int
	Generation uint64
	Exits      uint64
	ExitCode   int
	OOMKilled  bool
}

func newLedger(w *world) *ledger {
	return &ledger{w: w, truth: map[int]*fate{}, containers: map[string]*history{}, execs: map[string]*execHistory{}}
}

// happened learns what the daemon's processes do. The daemon's lock is held.
func (l *ledger) happened(e libcontainerd.DaemonEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Pid == 0 {
		return
	}
	f := l.truth[e.Pid]
	if f == nil {
		f = &fate{container: e.ContainerID}
		l.truth[e.Pid] = f
	}
	if e.Type == libcontainerd.DaemonExit {
		f.ended, f.exit = true, e.Exit
	}
}

// forget notes that the daemon loses a container's processes.
func (l *ledger) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.truth {
		if f.container == id {
			f.forgotten, f.lost = true, f.lost || !f.ended
		}
	}
}

// lifecycles counts the runs that ended.
func (l *ledger) lifecycles() int { return int(l.ended.Load()) }

// of is what was told of a container.
func (l *ledger) of(id string) history {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.containers[id]; h != nil {
		return *h
	}
	return history{}
}

// exec is what was told of an exec.
func (l *ledger) exec(id string) (execHistory, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.execs[id]; x != nil {
		return *x, true
	}
	return execHistory{}, false
}

func (l *ledger) at(seq uint64) (told, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > uint64(len(l.events)) {
		return told{}, false
	}
	return l.events[seq-1], true
}

func (l *ledger) newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.events))
}

// read takes in what the journal has beyond what was read before, all at one
// moment, and compares the records of the containers that it is about.
func (l *ledger) read(j *journal.Journal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		var fresh []journal.Event
		newest := j.Newest()
		for c := j.Cursor(uint64(len(l.events))); c.Position() < newest; {
			ev, ok, err := c.Poll()
			if err != nil || !ok {
				l.w.wrong("the journal has no event after %d of %d: %v", c.Position(), newest, err)
				return
			}
			fresh = append(fresh, ev)
		}
		again := false
		err := j.View(func(s *journal.Snapshot) error {
			if again = s.Newest() != newest; again {
				return nil // another write came in between
			}
			for _, ev := range fresh {
				l.tell(s, ev)
			}
			for n, ev := range fresh {
				if !slices.ContainsFunc(fresh[n+1:], func(later journal.Event) bool { return later.ID == ev.ID }) {
					l.compare(s, ev.ID)
				}
			}
			return nil
		})
		if err != nil {
			l.w.wrong("read the journal: %v", err)
			return
		}
		if !again {
			return
		}
	}
}

// tell takes in one event.
func (l *ledger) tell(s *journal.Snapshot, ev journal.Event) {
	l.events = append(l.events, told{ev.Action, ev.ID})
	if ev.Seq != uint64(len(l.events)) {
		l.w.wrong("event %d is number %d", len(l.events), ev.Seq)
	}
	l.w.note("journal", short(ev.ID)+" "+ev.Action, ev.Attributes["exitCode"])
	h := l.containers[ev.ID]
	if h == nil {
		h = &history{execs: map[string]bool{}}
		l.containers[ev.ID] = h
	}
	if err := l.follow(s, h, ev); err != nil {
		l.w.wrong("event %d, %s of %s %s: %v; before: %+v", ev.Seq, ev.Action, short(ev.ID), ev.Attributes["name"], err, *h)
	}
}

// follow checks that an event may follow what was told before.
func (l *ledger) follow(s *journal.Snapshot, h *history, ev journal.Event) error {
	action, _, _ := strings.Cut(ev.Action, ":")
	if h.removed || (h.status == "") != (action == "create") {
		return fmt.Errorf("the container isn't there, or was")
	}
	alive := h.alive()
	switch action {
	case "create":
		h.status = "created"
	case "start":
		return l.started(s, h, ev, alive)
	case "die":
		return l.died(h, ev, alive)
	case "oom":
		if !alive || h.oom {
			return fmt.Errorf("out of memory after its end, or twice")
		}
		h.oom = true
	case "pause", "unpause":
		to := map[string]string{"pause": "paused", "unpause": "running"}[action]
		if !alive || h.status == to {
			return fmt.Errorf("it is %s", h.status)
		}
		h.status = to
	case "exec_start":
		return l.execStarted(s, h, ev, alive)
	case "exec_die":
		return l.execDied(s, h, ev)
	case "destroy":
		if alive {
			return fmt.Errorf("it is %s", h.status)
		}
		h.status, h.removed = "gone", true
	}
	return nil
}

func (l *ledger) started(s *journal.Snapshot, h *history, ev journal.Event, alive bool) error {
	r, err := recordOf(s, ev.ID)
	switch {
	case err != nil:
		return err
	case alive:
		return fmt.Errorf("it is %s", h.status)
	case ev.Generation != h.generation+1 || r.Generation != ev.Generation:
		return fmt.Errorf("generation %d after %d, in the record %d", ev.Generation, h.generation, r.Generation)
	case l.truth[r.Pid] == nil:
		return fmt.Errorf("there never was a process %d", r.Pid)
	}
	h.status, h.starts, h.generation, h.pid, h.oom = "running", h.starts+1, ev.Generation, r.Pid, false
	return nil
}

// died compares an exit that was told with the true one.
func (l *ledger) died(h *history, ev journal.Event, alive bool) error {
	code, err := strconv.Atoi(ev.Attributes["exitCode"])
	if err != nil {
		return err
	}
	h.code = code
	if !alive { // a start that failed
		if ev.Generation != h.generation+1 {
			return fmt.Errorf("generation %d ended after %d", ev.Generation, h.generation)
		}
		h.status, h.generation = "exited", ev.Generation
		return nil
	}
	h.status, h.deaths = "exited", h.deaths+1
	l.ended.Add(1)
	if ev.Generation != h.generation {
		return fmt.Errorf("generation %d ended in %d", ev.Generation, h.generation)
	}
	if len(h.execs) > 0 {
		return fmt.Errorf("before %d of its execs", len(h.execs))
	}
	f := l.truth[h.pid]
	if f.ended && f.exit.OOMKilled && ev.Attributes["exitUnknown"] == "" && !h.oom {
		return fmt.Errorf("it was killed for want of memory, and that wasn't told before")
	}
	return f.agrees(ev)
}

// agrees compares an exit that was told with the truth. The event of an exec has
// no reason where its code is unknown.
func (f *fate) agrees(ev journal.Event) error {
	code, reason := ev.Attributes["exitCode"], ev.Attributes["exitUnknown"]
	switch unknown := code == "255"; { // no script ends so
	case unknown && !f.forgotten:
		return fmt.Errorf("unknown (%s), and the daemon never forgot", reason)
	case unknown:
	case reason != "":
		return fmt.Errorf("unknown (%s), and %s", reason, code)
	case f.lost:
		return fmt.Errorf("exit %s, which nobody can know", code)
	case !f.ended:
		return fmt.Errorf("exit %s of a process that lives", code)
	case code != strconv.Itoa(f.exit.Code):
		return fmt.Errorf("exit %s, in truth %d", code, f.exit.Code)
	}
	return nil
}

func (l *ledger) execStarted(s *journal.Snapshot, h *history, ev journal.Event, alive bool) error {
	id := ev.Attributes["execID"]
	raw, ok := s.Get("exec", id)
	var r recordView
	if !ok || json.Unmarshal(raw, &r) != nil {
		return fmt.Errorf("no record of exec %s", short(id))
	}
	if !alive || l.execs[id] != nil || l.truth[r.Pid] == nil {
		return fmt.Errorf("exec %s with pid %d: started twice, or in no container, or never", short(id), r.Pid)
	}
	l.execs[id] = &execHistory{pid: r.Pid}
	h.execs[id] = true
	return nil
}

func (l *ledger) execDied(s *journal.Snapshot, h *history, ev journal.Event) error {
	id := ev.Attributes["execID"]
	x := l.execs[id]
	if x == nil || x.ended {
		return fmt.Errorf("exec %s ended twice, or never ran", short(id))
	}
	if _, left := s.Get("exec", id); left {
		return fmt.Errorf("exec %s has ended, and a record", short(id))
	}
	x.ended = true
	delete(h.execs, id)
	x.code, _ = strconv.Atoi(ev.Attributes["exitCode"])
	return l.truth[x.pid].agrees(ev)
}

func recordOf(s *journal.Snapshot, id string) (recordView, error) {
	var r recordView
	raw, ok := s.Get("container", id)
	if !ok {
		return r, fmt.Errorf("no record of the container")
	}
	return r, json.Unmarshal(raw, &r)
}

// compare checks that a container's record is what follows from its events.
func (l *ledger) compare(s *journal.Snapshot, id string) {
	h := l.containers[id]
	r, err := recordOf(s, id)
	follows := false
	switch h.status {
	case "gone":
		follows = err != nil
	case "created":
		follows = r.Status == "created" || r.Status == "removing"
	case "exited":
		follows = (r.Status == "exited" || r.Status == "restarting" || r.Status == "removing") && r.Exits == h.generation && r.Pid == 0
	case "running", "paused":
		follows = r.Status == h.status && r.Pid == h.pid && r.OOMKilled == h.oom
	}
	if !follows || (err == nil && r.Generation != h.generation) {
		l.w.wrong("the record of %s is %+v (%v), its events say %+v", short(id), r, err, *h)
	}
}

// over checks that nothing is under way any more.
func (l *ledger) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, h := range l.containers {
		if !h.removed || len(h.execs) > 0 {
			l.w.wrong("%s was not told to its end: %+v", short(id), *h)
		}
	}
}
