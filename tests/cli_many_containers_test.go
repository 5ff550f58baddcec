package tests

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// TestManyContainers runs 40 containers (long runs: 100), 8 at a time, each with its own output and exit
// code. Afterwards the engine must have no more descriptors than before.
func TestManyContainers(t *testing.T) {
	d := oneDocker(t, sharedRig(t))
	d.ok(t, alone("busybox", "true")...) // the engine opens some files at its first container
	before := descriptors(t, d.enginePid())
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	many := 40
	if long {
		many = 100
	}
	for i := range many {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			script := fmt.Sprintf("echo out %d; echo err %d >&2; exit %d", i, i, i)
			r := d.run(t, alone("busybox", "sh", "-c", script)...)
			if want := (result{fmt.Sprintf("out %d\n", i), fmt.Sprintf("err %d\n", i), i}); r != want {
				t.Errorf("container %d: %+v", i, r)
			}
		})
	}
	group.Wait()
	now := 0
	if !holds(func() bool { now = descriptors(t, d.enginePid()); return now <= before }) {
		t.Errorf("the engine has %d descriptors, before it were %d", now, before)
	}
}

func descriptors(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
