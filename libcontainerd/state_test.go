package libcontainerd

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// allStatuses are all statuses, with the zero value.
func allStatuses() []Status {
	var all []Status
	for s := StatusInvalid; s <= StatusDeleted; s++ {
		all = append(all, s)
	}
	return all
}

func TestTransitionAllPairs(t *testing.T) {
	legal := 0
	for _, from := range allStatuses() {
		for _, to := range allStatuses() {
			r := record{id: "a", status: from}
			panicked := catch(func() { r.transition(to) })
			if allowed := slices.Contains(transitions[from], to); allowed == panicked {
				t.Errorf("%v to %v: allowed %v, panicked %v", from, to, allowed, panicked)
			}
			if panicked {
				if r.status != from || r.seq != 0 {
					t.Errorf("%v to %v was refused and left %v", from, to, r.status)
				}
				continue
			}
			legal++
		}
	}
	if legal != 26 {
		t.Errorf("%d legal transitions; the drawing in state.go has 26", legal)
	}
}

func catch(fn func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	fn()
	return false
}

func TestEveryStatusIsReachableAndNamed(t *testing.T) {
	reached := map[Status]bool{StatusInvalid: true}
	for again := true; again; {
		again = false
		for from := range reached {
			for _, to := range transitions[from] {
				again = again || !reached[to]
				reached[to] = true
			}
		}
	}
	for _, s := range allStatuses() {
		if !reached[s] || strings.Contains(s.String(), "(") {
			t.Errorf("%v: reachable %v", s, reached[s])
		}
		if s.Alive() != (s >= StatusRunning && s <= StatusResuming) {
			t.Errorf("%v is alive: %v", s, s.Alive())
		}
	}
	if got := Status(99).String(); got != "status(99)" {
		t.Error(got)
	}
}

func TestAllowNamesActionIDAndStatus(t *testing.T) {
	for _, s := range allStatuses() {
		r := record{id: "web", status: s}
		err := r.allow("pause", StatusRunning)
		switch {
		case s == StatusRunning:
			if err != nil {
				t.Error(err)
			}
		case s == StatusDeleted:
			if !errdefs.IsNotFound(err) {
				t.Errorf("deleted: %v", err)
			}
		default:
			if want := `cannot pause container "web" while ` + s.String(); !errdefs.IsFailedPrecondition(err) ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v", s, err)
			}
		}
	}
}

func TestForgetKeepsTheLatest(t *testing.T) {
	r := record{execs: map[string]*process{}}
	for i := range 3 * keptExecs {
		id := string(rune('a' + i))
		r.execs[id] = &process{}
		r.rememberEnded(id)
	}
	if len(r.execs) != keptExecs || len(r.ended) != keptExecs {
		t.Fatalf("%d execs and %d ids are kept", len(r.execs), len(r.ended))
	}
}

// TestRunExecIsNotKept has a container forget an exec of RunExec when RunExec has
// returned and nothing of the exec is left, in either order, and not before.
func TestRunExecIsNotKept(t *testing.T) {
	for _, callFirst := range []bool{true, false} {
		ctr := &Container{rec: record{execs: map[string]*process{}}}
		p, other := &process{id: "e1", settled: make(chan struct{})}, &process{id: "e2"}
		ctr.rec.execs["e1"], ctr.rec.execs["e2"] = p, other
		ctr.rec.rememberEnded("e1")
		ctr.rec.rememberEnded("e2")
		steps := []func(){func() { p.returned = true }, func() { close(p.settled) }}
		if !callFirst {
			slices.Reverse(steps)
		}
		ctr.forgetRunExec(p, steps[0])
		if len(ctr.rec.execs) != 2 {
			t.Errorf("forgotten too early: %v", ctr.rec.execs)
		}
		ctr.forgetRunExec(p, steps[1])
		if len(ctr.rec.execs) != 1 || ctr.rec.execs["e2"] != other || !slices.Equal(ctr.rec.ended, []string{"e2"}) {
			t.Errorf("kept: %v, %v", ctr.rec.execs, ctr.rec.ended)
		}
	}
}

// longestOfIDs is what CheckID documents.
const longestOfIDs = 76

func FuzzCheckID(f *testing.F) {
	for _, id := range []string{"", "a", "..", "../x", "a/b", "a.b-c_d", "é", "a\x00", "-a", "a-", "init",
		strings.Repeat("x", 77)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		err := CheckID(id)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || len(err.Error()) > 400 {
				t.Fatalf("error %v", err)
			}
			return
		}
		if id == "" || len(id) > longestOfIDs || strings.ContainsAny(id, "/\\\x00 \n") || strings.HasPrefix(id, ".") ||
			strings.Contains(id, "..") {
			t.Fatalf("%q passes", id)
		}
		if checkExecID(id, InitProcess) == nil || checkExecID(id, id) == nil {
			t.Fatalf("%q can name the first process and an exec", id)
		}
	})
}
