package request

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestUpdate(t *testing.T) {
	now := &record.HostConfig{ShmSize: 7, Resources: record.Resources{Memory: 100 << 20, MemorySwap: 200 << 20, NanoCPUs: 1e9}}
	pids := int64(-1)
	req := container.UpdateConfig{
		Resources: container.Resources{
			Memory: 50 << 20, CPUShares: 512, PidsLimit: &pids, CPURealtimePeriod: 20, CPURealtimeRuntime: 10,
		},
		RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3},
	}
	h, err := Update(now, req)
	if err != nil {
		t.Fatal(err)
	}
	if h.Memory != 50<<20 || h.MemorySwap != 200<<20 || h.CPUShares != 512 || *h.PidsLimit != 0 || h.ShmSize != 7 ||
		h.NanoCPUs != 1e9 || h.CPURealtimePeriod != 20 || h.CPURealtimeRuntime != 10 || h.RestartPolicy.Name != "on-failure" || h.RestartPolicy.MaximumRetryCount != 3 {
		t.Errorf("got %+v", h)
	}
	if now.Memory != 100<<20 || now.RestartPolicy.Name != "" || SameLimits(now, h) || !SameLimits(now, now) {
		t.Errorf("the container's own configuration is %+v", now)
	}
	for says, req := range map[string]container.UpdateConfig{
		"CPU Period cannot be updated as NanoCPUs": {Resources: container.Resources{CPUPeriod: 1000}},
		"CPU Quota cannot be updated as NanoCPUs":  {Resources: container.Resources{CPUQuota: 1000}},
		"cannot both be set":                       {Resources: container.Resources{CPUQuota: 1000, NanoCPUs: 1}},
		"memoryswap":                               {Resources: container.Resources{Memory: 300 << 20}},
		"unknown policy":                           {RestartPolicy: container.RestartPolicy{Name: "sometimes"}},
		"an empty entry":                           {Resources: container.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{nil}}},
		"IOMaximumIOps":                            {Resources: container.Resources{IOMaximumIOps: 10}},
	} {
		if _, err := Update(now, req); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
	unlimited := &record.HostConfig{Resources: record.Resources{CPUQuota: -1}}
	if h, err := Update(unlimited, container.UpdateConfig{Resources: container.Resources{NanoCPUs: 1e9}}); err != nil || h.NanoCPUs != 1e9 || h.CPUQuota != 0 {
		t.Errorf("--cpus after --cpu-quota -1: %+v, %v", h, err)
	}
	_, err = Update(&record.HostConfig{AutoRemove: true}, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	if !errdefs.IsConflict(err) {
		t.Errorf("a policy beside AutoRemove: %v", err)
	}
}
