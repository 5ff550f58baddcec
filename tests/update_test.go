package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerUpdate changes limits of a running container: the kernel has them at once, and
// inspect shows them.
func TestDockerUpdate(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	name := d.sleeper(t, "-m", "64m", "--memory-swap", "128m")
	const limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/pids/pids.max"
	d.ok(t, "update", "-m", "32m", "--memory-swap", "64m", "--cpu-shares", "512", "--pids-limit", "50", name)
	if got := d.ok(t, "exec", name, "sh", "-c", limits); !strings.HasPrefix(got, "33554432\n512\n50") {
		t.Errorf("the kernel has the limits %q", got)
	}
	d.ok(t, "update", "--pids-limit", "-1", "--restart", "always", name)
	if got := d.ok(t, "exec", name, "sh", "-c", limits); !strings.HasPrefix(got, "33554432\n512\n4194304") {
		t.Errorf("the kernel has the limits %q", got)
	}
	const shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}} {{.HostConfig.RestartPolicy.Name}}"
	if got := d.ok(t, "inspect", "-f", shown, name); got != "33554432 67108864 512 always" {
		t.Errorf("inspect shows %q", got)
	}
	d.fails(t, 1, "memoryswap", "update", "-m", "1g", name)
	d.ok(t, "rm", "-f", name)
}

// TestDockerBlockIO limits the I/O of a disk, and changes the limits while the container runs, with both OCI runtimes:
// runc 1.1.5 does not change them by itself.
func TestDockerBlockIO(t *testing.T) {
	t.Parallel()
	for runtime, wrap := range map[string][]string{"runc": nil, "crun": withoutUnified} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			limitBlockIO(t, oneDocker(t, ownRig(t, wrap...)))
		})
	}
}

// aDisk returns the path and the numbers of a whole disk of this machine.
func aDisk(t *testing.T) (path, numbers string) {
	t.Helper()
	disks, err := filepath.Glob("/sys/block/*/dev")
	if err != nil || len(disks) == 0 {
		t.Fatalf("no disks in /sys/block: %v", err)
	}
	text, err := os.ReadFile(disks[0])
	if err != nil {
		t.Fatal(err)
	}
	return "/dev/" + filepath.Base(filepath.Dir(disks[0])), strings.TrimSpace(string(text))
}

func limitBlockIO(t *testing.T, d docker) {
	disk, numbers := aDisk(t)
	name := d.sleeper(t, "--device-read-bps", disk+":1mb", "--device-write-iops", disk+":50")
	kernelHas := func(readBps, writeBps, readIOps, writeIOps string) {
		t.Helper()
		const file = "/sys/fs/cgroup/blkio/blkio.throttle."
		got := d.ok(t, "exec", name, "sh", "-c", "for f in read_bps write_bps read_iops write_iops; do echo $(cat "+file+"${f}_device); done")
		want := ""
		for _, rate := range []string{readBps, writeBps, readIOps, writeIOps} {
			if rate != "" {
				want += numbers + " " + rate
			}
			want += "\n"
		}
		if strings.TrimRight(got, "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("the kernel has %q, want %q", got, want)
		}
	}
	update := func(body string) {
		t.Helper()
		d.must(t, nil, "POST", "/containers/"+name+"/update", strings.ReplaceAll(body, "DISK", disk))
	}
	kernelHas("1048576", "", "", "50")
	update(`{"BlkioDeviceReadBps": [{"Path": "DISK", "Rate": 2000}], "BlkioDeviceWriteBps": [{"Path": "DISK", "Rate": 3000}],
		"BlkioDeviceReadIOps": [{"Path": "DISK", "Rate": 40}]}`)
	kernelHas("2000", "3000", "40", "50")
	update(`{"Memory": 67108864}`)
	kernelHas("2000", "3000", "40", "50")
	update(`{"BlkioDeviceReadBps": [{"Path": "DISK", "Rate": 0}], "BlkioDeviceWriteIOps": [{"Path": "DISK", "Rate": 60}]}`)
	kernelHas("", "3000", "40", "60")
	update(`{"BlkioDeviceReadIOps": []}`)
	update(`{"Memory": 67108864, "BlkioDeviceReadBps": []}`)
	kernelHas("", "3000", "", "60")
	d.ok(t, "restart", "-t", "0", name)
	kernelHas("", "3000", "", "60")
	for path, says := range map[string]string{
		"/dev/no-such": "stat /dev/no-such: no such file or directory", "/dev/null": "o such device",
	} {
		a := d.call("POST", "/containers/"+name+"/update", `{"BlkioDeviceReadBps": [{"Path": "`+path+`", "Rate": 5}]}`)
		if a.status < http.StatusBadRequest || !strings.Contains(a.body, says) {
			t.Errorf("limit of %s: %+v", path, a)
		}
	}
	kernelHas("", "3000", "", "60")
	const shown = "{{(index .HostConfig.BlkioDeviceWriteIOps 0).Rate}} {{len .HostConfig.BlkioDeviceReadBps}}"
	if got := d.ok(t, "inspect", "-f", shown, name); got != "60 0" {
		t.Errorf("inspect shows %q", got)
	}
	d.ok(t, "rm", "-f", name)
}
