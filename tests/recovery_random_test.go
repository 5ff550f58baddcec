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

// user uses the engine while its processes are killed. Requests may fail only without an
// answer, or with "unavailable".
type user struct {
	*rig
	t    testing.TB
	rand *rand.Rand
	name string
	runs map[string]int // exit code of each container, as the container ends by itself
	// creating is locked while a task may be created; nil if the test needs no such lock.
	creating sync.Locker
}

// ask sends a request, and reports whether the request was done.
func (u *user) ask(method, path, body string, into any) (ok bool) {
	a := u.call(method, path, body)
	switch {
	case a.err != nil, a.status == http.StatusServiceUnavailable:
		return false
	case a.status == http.StatusNotFound, a.status == http.StatusConflict, a.status == http.StatusNotModified:
		return false // because of an earlier request that had no answer
	case a.status >= 300:
		u.t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		return false
	}
	if into != nil {
		if err := json.Unmarshal([]byte(a.body), into); err != nil {
			return false // the answer is cut off
		}
	}
	return true
}

// killed is the exit code of a container that doesn't end by itself.
const killed = 137

// useContainers creates, uses and removes containers until stop is closed.
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
		<-time.After(pollEvery) // no engine answers now
		return
	}
	u.runs[made.ID] = code
	path := "/containers/" + made.ID
	if !u.start(path) {
		return
	}
	if stays { // an exec in a container that is about to end may fail in many ways
		var exec struct{ ID string }
		if u.ask(http.MethodPost, path+"/exec", `{"Cmd":["true"],"AttachStdout":true}`, &exec) {
			u.ask(http.MethodPost, "/exec/"+exec.ID+"/start", `{"Detach":true}`, nil)
		}
	}
	switch choice := u.rand.IntN(5); {
	case choice == 0:
		return // the container stays as it is
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

// TestRandomKills kills engine, runtimed or (once) keeper at random moments while three
// users use the engine. Afterwards each state must be true, each run must have one exit
// event with the true code, and nothing may be left.
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
		u := &user{rig: r, t: t, rand: rand.New(rand.NewPCG(seed, uint64(i+1))), name: fmt.Sprint("u", i),
			runs: map[string]int{}}
		users[i] = u
		work.Go(func() { u.useContainers(stop) })
	}
	victims := append(make([]string, 0, 15), "keeper")
	for i := len(victims); i < cap(victims); i++ {
		victims = append(victims, []string{"engine", "runtimed"}[i%2])
	}
	random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, victim := range victims {
		<-time.After(time.Duration(random.IntN(400)) * time.Millisecond) // a random moment
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

// killAndRecover kills one process, and starts the engine again if it ends because of
// that.
func (r *rig) killAndRecover(t *testing.T, victim string) {
	t.Helper()
	keeper, runtimed := r.keeperPid(), r.runtimedPid()
	switch victim {
	case "engine":
		r.kill(t, r.enginePid())
	case "runtimed":
		if runtimed == 0 {
			return // the keeper is about to start the next runtimed
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

// checkContainers compares the engine's answers with the processes and with the events.
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
		await(t, "the state of "+c.ID+" is true", func() bool {
			s := r.state(t, c.ID).State
			return s.Running == (s.Pid != 0) && (!s.Running || alive(s.Pid))
		})
		if r.state(t, c.ID).State.Running {
			if codes[c.ID] == killed {
				// The engine may not have noticed yet that the runtime daemon is back.
				await(t, c.ID+" is killed", func() bool {
					a := r.call(http.MethodPost, "/containers/"+c.ID+"/kill", "")
					return a.status == http.StatusNoContent || a.status == http.StatusConflict
				})
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

// possibleEvents is true if a container's events are possible: one exit for each start,
// with the container's own code, by SIGKILL, or unknown after the keeper was killed. A
// start that failed has code 128 and no start event.
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
	// the create had no answer, so the user did not start the container
	return code == 0 && strings.HasPrefix(events, "create")
}

// eventsByContainer returns the events of each container: create, start, die with its
// code, destroy.
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
