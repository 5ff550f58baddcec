package tests

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// guestEngine runs the engine inside of the machine: the effect of the API's limits, and
// how the engine reports them.
func guestEngine(t *testing.T) {
	r := ownRig(t)
	if log := r.logs("run/runtimed.log"); !strings.Contains(log, "crun runs on this host") {
		t.Errorf("runtimed took another runtime:\n%s", log)
	}
	var info struct{ CgroupVersion, Driver string }
	r.must(t, &info, "GET", "/info", "")
	if info.CgroupVersion != "2" || info.Driver != "overlayfs" {
		t.Errorf("info %+v", info)
	}
	t.Run("limits", func(t *testing.T) { engineLimits(t, r) })
	t.Run("memory", func(t *testing.T) { engineOutOfMemory(t, r) })
	t.Run("privileged", func(t *testing.T) { enginePrivileged(t, r) })
}

// inspected is the part of an inspect that these tests check.
type inspected struct {
	ID         string   `json:"Id"`
	Warnings   []string // of the create
	HostConfig struct{ CgroupnsMode string }
	State      struct {
		Status    string
		ExitCode  int
		OOMKilled bool
	}
}

// must makes a request that must succeed, and decodes the answer if there is one.
func (r *rig) must(t *testing.T, into any, method, path, body string) {
	t.Helper()
	a := r.call(method, path, body)
	if a.err != nil || a.status >= http.StatusBadRequest {
		t.Fatalf("%s %s %s: %d %s %v", method, path, body, a.status, a.body, a.err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
	}
}

// runs creates and starts a container that runs a script.
func (r *rig) runs(t *testing.T, script, hostConfig string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"Image": "busybox", "Cmd": []string{"sh", "-c", script}, "HostConfig": json.RawMessage(hostConfig),
		"OpenStdin": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var c inspected
	r.must(t, &c, "POST", "/containers/create", string(body))
	if unkillable := strings.Contains(hostConfig,
		"OomKillDisable"); unkillable != strings.Contains(strings.Join(c.Warnings, "\n"), "OomKillDisable discarded") {
		t.Errorf("warnings %q for %s", c.Warnings, hostConfig)
	}
	r.must(t, nil, "POST", "/containers/"+c.ID+"/start", "")
	return c.ID
}

func (r *rig) inspect(t *testing.T, id string) inspected {
	t.Helper()
	var c inspected
	r.must(t, &c, "GET", "/containers/"+id+"/json", "")
	return c
}

func engineLimits(t *testing.T, r *rig) {
	id := r.runs(t, `exec 2>&1; cat /proc/self/cgroup; cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.max; echo 1 > pids.max || read line`,
		`{"Memory": 67108864, "PidsLimit": 33, "NanoCpus": 500000000}`)
	var logs string
	await(t, "the container shows its limits", func() bool {
		logs = r.call("GET", "/containers/"+id+"/logs?stdout=1&stderr=1", "").body
		return strings.Contains(logs, "Read-only file system")
	})
	var lines []string
	for line := range strings.Lines(logs) {
		lines = append(lines, strings.TrimSpace(line[min(8, len(line)):])) // behind the stream's header
	}
	const want = "0::/ 67108864 67108864 33 50000 100000 "
	if got := strings.Join(lines, " "); !strings.HasPrefix(got, want) {
		t.Errorf("inside: %q, want %q", got, want)
	}
	if mode := r.inspect(t, id).HostConfig.CgroupnsMode; mode != "private" {
		t.Errorf("its namespace of control groups is %q", mode)
	}
	var stats struct {
		MemoryStats struct{ Usage, Limit uint64 }   `json:"memory_stats"`
		PidsStats   struct{ Current, Limit uint64 } `json:"pids_stats"`
	}
	r.must(t, &stats, "GET", "/containers/"+id+"/stats?stream=0", "")
	if stats.MemoryStats.Usage == 0 || stats.MemoryStats.Limit != 64<<20 || stats.PidsStats.Current != 1 ||
		stats.PidsStats.Limit != 33 {
		t.Errorf("stats %+v", stats)
	}
	r.must(t, nil, "POST", "/containers/"+id+"/pause", "")
	if c := r.inspect(t, id); c.State.Status != "paused" {
		t.Errorf("paused: %+v", c)
	}
	r.must(t, nil, "POST", "/containers/"+id+"/unpause", "")
	r.must(t, nil, "DELETE", "/containers/"+id+"?force=1", "")
}

func engineOutOfMemory(t *testing.T, r *rig) {
	id := r.runs(t, "exec tail /dev/zero", `{"Memory": 16777216, "MemorySwap": 16777216, "CgroupnsMode": "host"}`)
	r.must(t, nil, "POST", "/containers/"+id+"/wait", "")
	if c := r.inspect(t, id); c.State.ExitCode != 137 || !c.State.OOMKilled || c.HostConfig.CgroupnsMode != "host" {
		t.Errorf("%+v", c)
	}
}

// enginePrivileged runs a container that divides its control group, as an init system in a
// container does. The container also asks for limits that version 2 does not have.
func enginePrivileged(t *testing.T, r *rig) {
	id := r.runs(t, "cd /sys/fs/cgroup && mkdir init && echo 0 > init/cgroup.procs && echo +pids > cgroup.subtree_control && exit 5",
		`{"Privileged": true, "OomKillDisable": true}`)
	r.must(t, nil, "POST", "/containers/"+id+"/wait", "")
	if c := r.inspect(t, id); c.State.ExitCode != 5 {
		t.Errorf("%+v\n%s", c, r.call("GET", "/containers/"+id+"/logs?stdout=1&stderr=1", "").body)
	}
}
