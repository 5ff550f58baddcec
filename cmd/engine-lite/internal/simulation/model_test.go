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

// model is what really happened, as the daemon's processes did it, and what the journal
// says. After each write it compares the journal's events with what happened, and the
// journal's records with its events.
type model struct {
	w *world

	mu         sync.Mutex
	processes  map[int]*processTruth // by pid
	containers map[string]*history
	execs      map[string]*execHistory
	volumes    map[string]*volumeHistory // by name
	events     []eventKey                // by number, from 1
	ended      atomic.Int64
}

// processTruth is what really happened to a process.
type processTruth struct {
	container string
	ended     bool
	exit      libcontainerd.Exit
	forgotten bool // by the daemon
	lost      bool // forgotten while it ran
}

// eventKey is the action of an event in the journal and its container.
type eventKey struct{ action, id string }

// history is the state of a container that follows from its events so far.
type history struct {
	status     string // after the last event
	starts     int
	deaths     int
	generation uint64
	pid        int
	code       int
	oom        bool
	execs      map[string]bool
	removed    bool
	connected  bool // its ports, by the events of the network
	mounted    int  // its volumes, by the events of volumes
	name       string
}

func (h *history) alive() bool { return h.status == "running" || h.status == "paused" }

type execHistory struct {
	pid, code int
	ended     bool
}

// recordView is the part of an engine's record that the model reads.
type recordView struct {
	Status     string
	Pid        int
	Generation uint64
	Exits      uint64
	ExitCode   int
	OOMKilled  bool
}

func newModel(w *world) *model {
	return &model{w: w, processes: map[int]*processTruth{}, containers: map[string]*history{},
		execs: map[string]*execHistory{}, volumes: map[string]*volumeHistory{}}
}

// daemonEvent records an event of the daemon. The daemon's lock is held.
func (m *model) daemonEvent(e libcontainerd.DaemonEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Pid == 0 {
		return
	}
	f := m.processes[e.Pid]
	if f == nil {
		f = &processTruth{container: e.ContainerID}
		m.processes[e.Pid] = f
	}
	if e.Type == libcontainerd.DaemonExit {
		f.ended, f.exit = true, e.Exit
	}
}

// forget records that the daemon loses the processes of a container.
func (m *model) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.processes {
		if f.container == id {
			f.forgotten, f.lost = true, f.lost || !f.ended
		}
	}
}

// lifecycles is the number of runs that have ended.
func (m *model) lifecycles() int { return int(m.ended.Load()) }

// history returns what the journal's events say of a container.
func (m *model) history(id string) history {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.containers[id]; h != nil {
		return *h
	}
	return history{}
}

// exec returns what the journal's events say of an exec.
func (m *model) exec(id string) (execHistory, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := m.execs[id]; x != nil {
		return *x, true
	}
	return execHistory{}, false
}

func (m *model) event(seq uint64) (eventKey, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq == 0 || seq > uint64(len(m.events)) {
		return eventKey{}, false
	}
	return m.events[seq-1], true
}

func (m *model) newest() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.events))
}

// read reads the events that are new since the last read, all at one moment, and checks
// the records of their containers.
func (m *model) read(j *journal.Journal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		var fresh []journal.Event
		newest := j.Newest()
		for c := j.Cursor(uint64(len(m.events))); c.Position() < newest; {
			ev, ok, err := c.Poll()
			if err != nil || !ok {
				m.w.violation("the journal has no event after %d of %d: %v", c.Position(), newest, err)
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
				m.addEvent(s, ev)
			}
			for n, ev := range fresh {
				id := ev.ID
				if ev.Type != "container" {
					id = ev.Attributes["container"]
				}
				if h := m.containers[id]; h != nil && h.connected != h.alive() {
					m.w.violation("%s is %s, and its port is connected: %t", short(id), h.status, h.connected)
				}
				if h := m.containers[id]; h != nil {
					m.checkMounted(id, h)
				}
				if ev.Type == "volume" {
					m.compareVolume(s, ev.ID)
				}
				if ev.Type != "container" {
					continue // the container has an event in the same commit
				}
				if !slices.ContainsFunc(fresh[n+1:], func(later journal.Event) bool { return later.ID == ev.ID }) {
					m.compare(s, ev.ID)
				}
			}
			return nil
		})
		if err != nil {
			m.w.violation("read the journal: %v", err)
			return
		}
		if !again {
			return
		}
	}
}

// addEvent adds an event and checks it.
func (m *model) addEvent(s *journal.Snapshot, ev journal.Event) {
	m.events = append(m.events, eventKey{ev.Action, ev.ID})
	if ev.Seq != uint64(len(m.events)) {
		m.w.violation("event %d is number %d", len(m.events), ev.Seq)
	}
	m.w.note("journal", short(ev.ID)+" "+ev.Action, ev.Attributes["exitCode"])
	if ev.Type == "volume" {
		if err := m.volumeEvent(ev); err != nil {
			m.w.violation("event %d, %s of volume %s: %v", ev.Seq, ev.Action, ev.ID, err)
		}
		return
	}
	if ev.Type == "network" {
		if h := m.containers[ev.Attributes["container"]]; h != nil {
			h.connected = ev.Action == "connect"
		} else {
			m.w.violation("event %d, %s of a port whose container has no event", ev.Seq, ev.Action)
		}
		return
	}
	h := m.containers[ev.ID]
	if h == nil {
		h = &history{execs: map[string]bool{}}
		m.containers[ev.ID] = h
	}
	if err := m.applyEvent(s, h, ev); err != nil {
		m.w.violation("event %d, %s of %s %s: %v; before: %+v", ev.Seq, ev.Action, short(ev.ID), ev.Attributes["name"],
			err, *h)
	}
}

// applyEvent checks that an event is possible after the ones before, and applies it to the
// history.
func (m *model) applyEvent(s *journal.Snapshot, h *history, ev journal.Event) error {
	action, _, _ := strings.Cut(ev.Action, ":")
	if h.removed || (h.status == "") != (action == "create") {
		return fmt.Errorf("the container is removed, or was not created, or is created twice")
	}
	alive := h.alive()
	switch action {
	case "create":
		h.status, h.name = "created", ev.Attributes["name"]
	case "start":
		return m.started(s, h, ev, alive)
	case "die":
		return m.died(h, ev, alive)
	case "oom":
		if !alive || h.oom {
			return fmt.Errorf("an OOM event after the exit, or a second one")
		}
		h.oom = true
	case "pause", "unpause":
		to := map[string]string{"pause": "paused", "unpause": "running"}[action]
		if !alive || h.status == to {
			return fmt.Errorf("it is %s", h.status)
		}
		h.status = to
	case "exec_start":
		return m.execStarted(s, h, ev, alive)
	case "exec_die":
		return m.execDied(s, h, ev)
	case "destroy":
		if alive {
			return fmt.Errorf("it is %s", h.status)
		}
		h.status, h.removed = "gone", true
	}
	return nil
}

func (m *model) started(s *journal.Snapshot, h *history, ev journal.Event, alive bool) error {
	r, err := recordOf(s, ev.ID)
	switch {
	case err != nil:
		return err
	case alive:
		return fmt.Errorf("it is %s", h.status)
	case ev.Generation != h.generation+1 || r.Generation != ev.Generation:
		return fmt.Errorf("generation %d after %d, in the record %d", ev.Generation, h.generation, r.Generation)
	case m.processes[r.Pid] == nil:
		return fmt.Errorf("there never was a process %d", r.Pid)
	}
	h.status, h.starts, h.generation, h.pid, h.oom = "running", h.starts+1, ev.Generation, r.Pid, false
	return nil
}

// died compares the exit code of an event with the true one.
func (m *model) died(h *history, ev journal.Event, alive bool) error {
	code, err := strconv.Atoi(ev.Attributes["exitCode"])
	if err != nil {
		return err
	}
	h.code = code
	if !alive { // the start has failed
		if ev.Generation != h.generation+1 {
			return fmt.Errorf("generation %d ended after %d", ev.Generation, h.generation)
		}
		h.status, h.generation = "exited", ev.Generation
		return nil
	}
	h.status, h.deaths = "exited", h.deaths+1
	m.ended.Add(1)
	if ev.Generation != h.generation {
		return fmt.Errorf("generation %d ended in %d", ev.Generation, h.generation)
	}
	if len(h.execs) > 0 {
		return fmt.Errorf("%d of its execs have no exit event yet", len(h.execs))
	}
	f := m.processes[h.pid]
	if f.ended && f.exit.OOMKilled && ev.Attributes["exitUnknown"] == "" && !h.oom {
		return fmt.Errorf("it was killed by the OOM killer, and there was no event of that before")
	}
	return f.compareExit(ev)
}

// compareExit compares the exit code of an event with the true one. The event of an exec
// has no reason if the code is unknown.
func (f *processTruth) compareExit(ev journal.Event) error {
	code, reason := ev.Attributes["exitCode"], ev.Attributes["exitUnknown"]
	switch unknown := code == "255"; { // no script ends with 255
	case unknown && !f.forgotten:
		return fmt.Errorf("exit unknown (%s), but the daemon did not forget the process", reason)
	case unknown:
	case reason != "":
		return fmt.Errorf("exit unknown (%s), but its code is %s", reason, code)
	case f.lost:
		return fmt.Errorf("exit %s, but the daemon has forgotten the process", code)
	case !f.ended:
		return fmt.Errorf("exit %s of a process that still runs", code)
	case code != strconv.Itoa(f.exit.Code):
		return fmt.Errorf("exit %s, in truth %d", code, f.exit.Code)
	}
	return nil
}

func (m *model) execStarted(s *journal.Snapshot, h *history, ev journal.Event, alive bool) error {
	id := ev.Attributes["execID"]
	raw, ok := s.Get("exec", id)
	var r recordView
	if !ok || json.Unmarshal(raw, &r) != nil {
		return fmt.Errorf("no record of exec %s", short(id))
	}
	if !alive || m.execs[id] != nil || m.processes[r.Pid] == nil {
		return fmt.Errorf("exec %s with pid %d: started twice, or in no container, or never", short(id), r.Pid)
	}
	m.execs[id] = &execHistory{pid: r.Pid}
	h.execs[id] = true
	return nil
}

func (m *model) execDied(s *journal.Snapshot, h *history, ev journal.Event) error {
	id := ev.Attributes["execID"]
	x := m.execs[id]
	if x == nil || x.ended {
		return fmt.Errorf("exec %s ended twice, or never ran", short(id))
	}
	if _, left := s.Get("exec", id); left {
		return fmt.Errorf("exec %s has ended and still has a record", short(id))
	}
	x.ended = true
	delete(h.execs, id)
	x.code, _ = strconv.Atoi(ev.Attributes["exitCode"])
	return m.processes[x.pid].compareExit(ev)
}

func recordOf(s *journal.Snapshot, id string) (recordView, error) {
	var r recordView
	raw, ok := s.Get("container", id)
	if !ok {
		return r, fmt.Errorf("no record of the container")
	}
	return r, json.Unmarshal(raw, &r)
}

// compare checks that a container's record follows from its events.
func (m *model) compare(s *journal.Snapshot, id string) {
	h := m.containers[id]
	r, err := recordOf(s, id)
	follows := false
	switch h.status {
	case "gone":
		follows = err != nil
	case "created":
		follows = r.Status == "created" || r.Status == "removing"
	case "exited":
		follows = (r.Status == "exited" || r.Status == "restarting" || r.Status == "removing") &&
			r.Exits == h.generation && r.Pid == 0
	case "running", "paused":
		follows = r.Status == h.status && r.Pid == h.pid && r.OOMKilled == h.oom
	}
	if !follows || (err == nil && r.Generation != h.generation) {
		m.w.violation("the record of %s is %+v (%v), its events say %+v", short(id), r, err, *h)
	}
}

// checkComplete checks that all containers were removed and no exec is running.
func (m *model) checkComplete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, h := range m.containers {
		if !h.removed || len(h.execs) > 0 {
			m.w.violation("%s has no event of its removal, or its execs have none of their exit: %+v", short(id), *h)
		}
	}
}
