package request

import (
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// TestDiscardMemory asks for what control groups of version 2 do not have.
func TestDiscardMemory(t *testing.T) {
	for _, c := range []struct {
		version2 bool
		r        container.Resources
		warnings int
	}{
		{true, container.Resources{MemorySwappiness: new(int64(7)), OomKillDisable: new(true)}, 2},
		{true, container.Resources{MemorySwappiness: new(int64(-1)), OomKillDisable: new(false)}, 0},
		{false, container.Resources{MemorySwappiness: new(int64(7)), OomKillDisable: new(true)}, 0},
	} {
		had := c.r
		warnings := Discard(&c.r, Host{ControlGroups2: c.version2})
		discarded := c.r.MemorySwappiness == nil && c.r.OomKillDisable == nil
		if len(warnings) != c.warnings || discarded != (c.warnings > 0) {
			t.Errorf("%+v: %q, %+v", had, warnings, c.r)
		}
	}
}

// TestDiscard asks for all limits of block I/O on kernels that have all, and one less each.
func TestDiscard(t *testing.T) {
	rates := []*blkiodev.ThrottleDevice{{Path: "/dev/x", Rate: 1}}
	asked := container.Resources{
		BlkioWeight: 5, BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/dev/x", Weight: 10}},
		BlkioDeviceReadBps: rates, BlkioDeviceWriteBps: rates, BlkioDeviceReadIOps: rates, BlkioDeviceWriteIOps: rates,
	}
	all := BlockIO{true, true, true, true, true, true}
	for missing, says := range map[string]string{
		"": "", "Weight": "Weight discarded", "WeightDevice": "Weight-device discarded", "ReadBps": "BPS read limit discarded",
		"WriteBps": "BPS write limit discarded", "ReadIOps": "IOPS read limit discarded", "WriteIOps": "IOPS write limit discarded",
	} {
		host, r := Host{BlockIO: all}, asked
		want := 6
		if missing != "" {
			reflect.ValueOf(&host.BlockIO).Elem().FieldByName(missing).SetBool(false)
			want = 5
		}
		warnings := Discard(&r, host)
		if text := strings.Join(warnings, "\n"); !strings.HasSuffix(strings.TrimSuffix(text, "."), says) || (text == "") != (missing == "") {
			t.Errorf("without %q: warnings %q", missing, warnings)
		}
		stay := 0
		for name, v := range reflect.ValueOf(r).Fields() {
			if strings.HasPrefix(name.Name, "Blkio") && isSet(v) {
				stay++
			}
		}
		if stay != want || len(Discard(&r, host)) != 0 {
			t.Errorf("without %q: %d limits stay of %+v", missing, stay, r)
		}
	}
	if warnings := Discard(&container.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{}}, Host{}); warnings != nil {
		t.Errorf("nothing was asked for, and the warnings are %q", warnings)
	}
}

// TestUpdateBlockIO replaces one list, clears one, adds one, and leaves the others as they are.
func TestUpdateBlockIO(t *testing.T) {
	now := &record.HostConfig{Resources: record.Resources{
		BlkioWeight: 100, BlkioWeightDevice: []record.WeightDevice{{Path: "/dev/a", Weight: 10}},
		BlkioDeviceReadBps:  []record.ThrottleDevice{{Path: "/dev/a", Rate: 1}, {Path: "/dev/b", Rate: 2}},
		BlkioDeviceWriteBps: []record.ThrottleDevice{{Path: "/dev/a", Rate: 3}},
	}}
	before := *now
	h, err := Update(now, container.UpdateConfig{Resources: container.Resources{
		BlkioDeviceReadBps:  []*blkiodev.ThrottleDevice{{Path: "/dev/a", Rate: 7}, {Path: "/dev/c", Rate: 8}},
		BlkioDeviceWriteBps: []*blkiodev.ThrottleDevice{}, BlkioDeviceReadIOps: []*blkiodev.ThrottleDevice{{Path: "/dev/a", Rate: 9}},
		BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/dev/a", Weight: 20}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := record.Resources{
		BlkioWeight: 100, BlkioWeightDevice: []record.WeightDevice{{Path: "/dev/a", Weight: 20}},
		BlkioDeviceReadBps:  []record.ThrottleDevice{{Path: "/dev/a", Rate: 7}, {Path: "/dev/c", Rate: 8}},
		BlkioDeviceWriteBps: []record.ThrottleDevice{},
		BlkioDeviceReadIOps: []record.ThrottleDevice{{Path: "/dev/a", Rate: 9}},
	}
	if !reflect.DeepEqual(h.Resources, want) || SameLimits(now, h) {
		t.Errorf("got %+v\nwant %+v", h.Resources, want)
	}
	if !reflect.DeepEqual(*now, before) {
		t.Errorf("the container's own configuration is now %+v", now.Resources)
	}
}
