package tests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// user is somebody who goes on using the engine while its processes are killed.
// An answer that doesn't come, or that says "unavailable", is all that may go
// wrong for them.
type user struct {
	*rig
	t    testing.TB
	rand *rand.Rand
	name string
	runs map[string]int // containers with the code that each ends with by itself
	// creating is held while a task may be created; nil where that needs no care.
	creating sync.Locker
}

// ask sends a request; ok tells whether it was done.
func (u *user) ask(method, path, body string, into any) (ok bool) {
	a := u.call(method, path, body)
	switch {
	case a.err != nil, a.status == http.StatusServiceUnavailable:
		return false
	case a.status == http.StatusNotFound, a.status == http.StatusConflict, a.status == http.StatusNotModified:
		return false // an earlier request without an answer was done, or not
	case a.status >= 300:
		u.t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		return false
	}
	if into != nil {
		if err := json.Unmarshal([]byte(a.body), into); err != nil {
			return false // cut off
		}
	}
	return true
}

// killed is the exit code of a container that doesn't end by itself.
const killed = 137

// live makes containers, uses and removes them until stop is closed.
func (u *user) useContainers(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
			u.useContainer(fmt.Sprintf("%s-%d", u.name, n))
		}
	}
}

func (u *user) useContainer(name string) {
	code := 1 + u.rand.IntN(90)
	script := fmt.Sprintf("sleep 0.%d; exit %d", u.rand.IntN(10), code)
	stays := u.rand.IntN(2) == 0
	if stays {
		code, script = killed, "exec sleep 1000"
	}
	var made struct{ ID string }
	body := fmt.Sprintf(`{"Image":"busybox","Cmd":["sh","-c",%q],"OpenStdin":true,"HostConfig":{"NetworkMode":"none"}}`, script)
	if !u.ask(http.MethodPost, "/containers/create?name="+name, body, &made) {
		<-time.After(pollEvery) // nobody is there: no need to be a busy loop
		return
	}
	u.runs[made.ID] = code
	path := "/containers/" + made.ID
	if !u.start(path) {
		return
	}
	if stays { // an exec in a container that is just ending may fail in many ways
		var exec struct{ ID string }
		if u.ask(http.MethodPost, path+"/exec", `{"Cmd":["true"],"AttachStdout":true}`, &exec) {
			u.ask(http.MethodPost, "/exec/"+exec.ID+"/start", `{"Detach":true}`, nil)
		}
	}
	switch choice := u.rand.IntN(5); {
	case choice == 0:
		return // as it is
	case choice == 1:
		u.ask(http.MethodPost, path+"/kill", "", nil)
	case choice == 2 && !stays:
		var end struct{ StatusCode int }
		if u.ask(http.MethodPost, path+"/wait", "", &end) && end.StatusCode != code && end.StatusCode != 255 {
			u.t.Errorf("wait for %s: %d, want %d", made.ID, end.StatusCode, code)
		}
	default:
		u.ask(http.MethodDelete, path+"?force=1", "", nil)
	}
}

func (u *user) start(path string) bool {
	if u.creating != nil {
		u.creating.Lock()
		defer u.creating.Unlock()
	}
	return u.ask(http.MethodPost, path+"/start", "", nil)
}

// TestRandomKills kills one of engine, runtimed and, rarely, keeper at random
// moments while three users go on working. Afterwards each state is true, each
// run has one end, with the true code, and the rig's end finds nothing left.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	r := ownRig(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	stop := make(chan struct{})
	users := make([]*user, 3)
	var work sync.WaitGroup
	for i := range users {
		u := &user{rig: r, t: t, rand: rand.New(rand.NewPCG(seed, uint64(i+1))), name: fmt.Sprint("u", i), runs: map[string]int{}}
		users[i] = u
		work.Go(func() { u.useContainers(stop) })
	}
	victims := append(make([]string, 0, 15), "keeper")
	for i := len(victims); i < cap(victims); i++ {
		victims = append(victims, []string{"engine", "runtimed"}[i%2])
	}
	random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, victim := range victims {
		<-time.After(time.Duration(random.IntN(400)) * time.Millisecond) // any moment will do
		r.killAndRecover(t, victim)
	}
	close(stop)
	work.Wait()
	codes := map[string]int{}
	for _, u := range users {
		for id, code := range u.runs {
			codes[id] = code
		}
	}
	r.checkContainers(t, codes)
}

// strike kills one process and starts the engine again where that ends it.
func (r *rig) killAndRecover(t *testing.T, victim string) {
	t.Helper()
	keeper, runtimed := r.keeperPid(), r.runtimedPid()
	switch victim {
	case "engine":
		r.kill(t, r.enginePid())
	case "runtimed":
		if runtimed == 0 {
			return // the keeper is just starting the next one
		}
		r.kill(t, runtimed)
		await(t, "another runtimed runs", func() bool { next := r.runtimedPid(); return next != 0 && next != runtimed })
		return
	case "keeper":
		r.kill(t, keeper)
	}
	select {
	case <-r.wait():
	case <-time.After(waitLimit):
		t.Fatal("the engine doesn't end")
	}
	if err := r.start(); err != nil {
		t.Fatalf("after the end of the %s: %v", victim, err)
	}
}

// examine compares what the engine says with what is, and with what it said.
func (r *rig) checkContainers(t *testing.T, codes map[string]int) {
	t.Helper()
	events := r.eventsByContainer(t)
	if len(events) < 15 {
		t.Errorf("only %d containers", len(events))
	}
	var list []struct{ ID string }
	r.do(t, http.MethodGet, "/containers/json?all=1", nil, &list)
	listed := map[string]bool{}
	for _, c := range list {
		listed[c.ID] = true
		await(t, "what is said of "+c.ID+" is so", func() bool {
			s := r.state(t, c.ID).State
			return s.Running == (s.Pid != 0) && (!s.Running || alive(s.Pid))
		})
		if r.state(t, c.ID).State.Running {
			if codes[c.ID] == killed {
				r.do(t, http.MethodPost, "/containers/"+c.ID+"/kill", nil, nil)
			}
			var end struct{ StatusCode int }
			r.do(t, http.MethodPost, "/containers/"+c.ID+"/wait", nil, &end)
		}
	}
	for id, events := range r.eventsByContainer(t) {
		if got := strings.Join(events, " "); !r.possibleEvents(got, codes[id], listed[id]) {
			t.Errorf("container %s, code %d, there: %t: %s", id, codes[id], listed[id], got)
		}
	}
}

// possible tells whether a container's events are a life that there can be: one
// end to each start, by itself, by SIGKILL or of unknown code after the keeper's
// death; a start that failed has code 128 and no event of its own.
func (r *rig) possibleEvents(events string, code int, listed bool) bool {
	end := ""
	if !listed {
		end = " destroy"
	}
	sequences := []string{"create" + end, "create die:128" + end}
	for _, c := range []int{code, killed, 255} {
		sequences = append(sequences, "create start die:"+strconv.Itoa(c)+end)
	}
	for _, sequence := range sequences {
		if events == sequence {
			return true
		}
	}
	return code == 0 && strings.HasPrefix(events, "create") // its create had no answer, so it wasn't started
}

// toldOfAll are the events of each container: create, start, die with its code, destroy.
func (r *rig) eventsByContainer(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, e := range r.history(t) {
		action := e.Action
		switch {
		case e.Type != "container":
			continue
		case action == "die":
			action += ":" + e.Attributes["exitCode"]
		case action != "create" && action != "start" && action != "destroy":
			continue
		}
		all[e.ID] = append(all[e.ID], action)
	}
	return all
}
