package libcontainerd

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// full is a value with every field set, whatever fields there are.
func full(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
			return
		}
		for i := range v.NumField() {
			full(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		full(t, v.Index(0))
		full(t, v.Index(1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(8)
	default:
		t.Fatalf("no value for %v", v.Type())
	}
}

// TestStoredForms checks that what an engine may store as JSON is the same when it is read, and that its form is that
// of the first release that promised it. A field may be added to the form, and none may change.
func TestStoredForms(t *testing.T) {
	for _, c := range []struct {
		value, empty any
		form         string
	}{
		{&RestoreOptions{}, &RestoreOptions{}, `{"labels":{"k":"v"},"runtime":"text",` +
			`"runtimeOptions":{"typeUrl":"text","value":"CAg="},"runtimePath":"text","runtimeArgs":["text","text"],` +
			`"rootfs":[{"type":"text","source":"text","target":"text","options":["text","text"]},` +
			`{"type":"text","source":"text","target":"text","options":["text","text"]}],` +
			`"noPivotRoot":true,"systemdCgroup":true,"uid":8,"gid":8,"generation":8,"pid":7,` +
			`"stdio":{"terminal":true,"stdin":true,"detached":true,"uid":8,"gid":8},"stdinClosed":true,` +
			`"paused":true,"oomDelivered":true,` +
			`"exit":{"code":7,"unknown":"text","time":"2026-01-02T03:04:05.000000006Z","oomKilled":true},"execs":[` +
			`{"id":"text","pid":7,"stdio":{"terminal":true,"stdin":true,"detached":true,"uid":8,"gid":8},"stdinClosed":true},` +
			`{"id":"text","pid":7,"stdio":{"terminal":true,"stdin":true,"detached":true,"uid":8,"gid":8},"stdinClosed":true}]}`},
		{&Event{}, &Event{}, `{"type":"text","containerId":"text","processId":"text","pid":7,"generation":8,` +
			`"exit":{"code":7,"unknown":"text","time":"2026-01-02T03:04:05.000000006Z","oomKilled":true},` +
			`"stdio":{"terminal":true,"stdin":true,"detached":true,"uid":8,"gid":8},"stdinClosed":true,` +
			`"warnings":["text","text"],"recovered":true,"time":"2026-01-02T03:04:05.000000006Z"}`},
	} {
		full(t, reflect.ValueOf(c.value).Elem())
		data, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		if string(data) != c.form {
			t.Errorf("the form of %T is\n%s", c.value, data)
		}
		if err := json.Unmarshal(data, c.empty); err != nil || !reflect.DeepEqual(c.value, c.empty) {
			t.Errorf("%T is read as %+v, %v", c.value, c.empty, err)
		}
	}
}

func TestApply(t *testing.T) {
	stdio := StdioConfig{Stdin: true, UID: 5}
	start := Event{Type: EventStart, ProcessID: InitProcess, Pid: 10, Generation: 3, Stdio: stdio}
	of := func(t EventType, process string, pid int) Event {
		return Event{Type: t, ProcessID: process, Pid: pid, Generation: 3}
	}
	execStarted := of(EventExecStarted, "e", 11)
	execStarted.Stdio, execStarted.StdinClosed = StdioConfig{Terminal: true}, true
	running := RestoreOptions{CreateOptions: CreateOptions{UID: 5}, Generation: 3, Pid: 10, Stdio: stdio}
	with := func(change func(o *RestoreOptions)) RestoreOptions {
		o := running
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		events []Event
		want   RestoreOptions
	}{
		"nothing": {nil, RestoreOptions{CreateOptions: CreateOptions{UID: 5}}},
		"started": {[]Event{start}, running},
		"exited":  {[]Event{start, of(EventExit, InitProcess, 10)}, RestoreOptions{CreateOptions: CreateOptions{UID: 5}, Generation: 3}},
		"started again": {[]Event{{Type: EventStart, Pid: 9, Generation: 2}, {Type: EventOOM, Generation: 2, Pid: 9},
			{Type: EventExit, Generation: 2, Pid: 9}, start}, running},
		"paused":  {[]Event{start, of(EventPaused, InitProcess, 10)}, with(func(o *RestoreOptions) { o.Paused = true })},
		"resumed": {[]Event{start, of(EventPaused, InitProcess, 10), of(EventResumed, InitProcess, 10)}, running},
		"oom":     {[]Event{start, of(EventOOM, InitProcess, 10)}, with(func(o *RestoreOptions) { o.OOMDelivered = true })},
		"exec added": {[]Event{start, of(EventExecAdded, "e", 0)},
			with(func(o *RestoreOptions) { o.Execs = []RestoreExec{{ID: "e"}} })},
		"exec started": {[]Event{start, of(EventExecAdded, "e", 0), execStarted}, with(func(o *RestoreOptions) {
			o.Execs = []RestoreExec{{ID: "e", Pid: 11, Stdio: StdioConfig{Terminal: true}, StdinClosed: true}}
		})},
		"exec exited": {[]Event{start, of(EventExecAdded, "e", 0), execStarted, of(EventExitProcess, "e", 11)},
			with(func(o *RestoreOptions) { o.Execs = []RestoreExec{} })},
		"execs end with the container": {[]Event{start, of(EventExecAdded, "e", 0), of(EventExit, InitProcess, 10)},
			RestoreOptions{CreateOptions: CreateOptions{UID: 5}, Generation: 3}},
		"stdin closed": {[]Event{start, of(EventStdinClosed, InitProcess, 10)},
			with(func(o *RestoreOptions) { o.StdinClosed = true })},
		"an exec's stdin closed": {[]Event{start, of(EventExecStarted, "e", 11), of(EventStdinClosed, "e", 11)},
			with(func(o *RestoreOptions) { o.Execs = []RestoreExec{{ID: "e", Pid: 11, StdinClosed: true}} })},
		"of another generation": {[]Event{start, {Type: EventPaused, ProcessID: InitProcess, Pid: 9, Generation: 2}}, running},
		"restored":              {[]Event{start, of(EventRestore, InitProcess, 10)}, running},
	} {
		got := RestoreOptions{CreateOptions: CreateOptions{UID: 5}}
		for _, e := range c.events {
			got.Apply(e)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
		if err := got.check("c"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestApplyIsBounded adds execs whose start fails: those have no further event.
func TestApplyIsBounded(t *testing.T) {
	o := RestoreOptions{}
	o.Apply(Event{Type: EventStart, Pid: 10, Generation: 1})
	o.Apply(Event{Type: EventExecStarted, ProcessID: "runs", Pid: 11, Generation: 1})
	for i := range 3 * keptAdded {
		o.Apply(Event{Type: EventExecAdded, ProcessID: fmt.Sprintf("e%d", i), Generation: 1})
	}
	if len(o.Execs) != keptAdded+1 || o.Execs[0].ID != "runs" || o.Execs[keptAdded].ID != fmt.Sprintf("e%d", 3*keptAdded-1) {
		t.Errorf("%d execs, from %q to %q", len(o.Execs), o.Execs[0].ID, o.Execs[len(o.Execs)-1].ID)
	}
}
