package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/images"
)

func TestRefusals(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		change func(req *container.CreateRequest)
		is     func(error) bool
		says   string
	}{
		"no config":     {func(req *container.CreateRequest) { req.Config = nil }, errdefs.IsInvalidArgument, "no image"},
		"no image":      {func(req *container.CreateRequest) { req.Image = "" }, errdefs.IsInvalidArgument, "no image"},
		"unknown image": {func(req *container.CreateRequest) { req.Image = "nosuch" }, errdefs.IsNotFound, "nosuch"},
		"images": {func(req *container.CreateRequest) {
			req.HostConfig.Mounts = []mount.Mount{{Type: "image", Source: "nobox", Target: "/x"}}
		}, errdefs.IsNotFound, "nobox"},
		"health check": {func(req *container.CreateRequest) {
			req.Healthcheck = &container.HealthConfig{Test: []string{"CMD"}}
		}, errdefs.IsInvalidArgument, "no command"},
		"network mode": {func(req *container.CreateRequest) { req.HostConfig.NetworkMode = "mynet" },
			errdefs.IsNotImplemented, "NetworkMode"},
		"container mode": {func(req *container.CreateRequest) { req.HostConfig.PidMode = "container:x" },
			errdefs.IsInvalidArgument, "No such container: x"},
		"container mode without a container": {func(req *container.CreateRequest) { req.HostConfig.IpcMode = "container:" },
			errdefs.IsInvalidArgument, "invalid IPC mode: container:"},
		"pid mode":    {func(req *container.CreateRequest) { req.HostConfig.PidMode = "x" }, errdefs.IsInvalidArgument, "PID mode"},
		"variable":    {func(req *container.CreateRequest) { req.Env = []string{"=x"} }, errdefs.IsInvalidArgument, "environment variable"},
		"cpu shares":  {func(req *container.CreateRequest) { req.HostConfig.CPUShares = -1 }, errdefs.IsInvalidArgument, "CPU shares"},
		"cpu period":  {func(req *container.CreateRequest) { req.HostConfig.CPUPeriod = 1 }, errdefs.IsInvalidArgument, "cfs period"},
		"cpus":        {func(req *container.CreateRequest) { req.HostConfig.CpusetCpus = "8000" }, errdefs.IsInvalidArgument, "not available"},
		"tmpfs":       {func(req *container.CreateRequest) { req.HostConfig.Tmpfs = map[string]string{"x": ""} }, errdefs.IsInvalidArgument, "absolute"},
		"tmpfs on /":  {func(req *container.CreateRequest) { req.HostConfig.Tmpfs = map[string]string{"//": ""} }, errdefs.IsInvalidArgument, "can't be '/'"},
		"tmpfs words": {func(req *container.CreateRequest) { req.HostConfig.Tmpfs = map[string]string{"/x": "nope"} }, errdefs.IsInvalidArgument, "nope"},
		"link":        {func(req *container.CreateRequest) { req.HostConfig.Links = []string{"x:y"} }, errdefs.IsInvalidArgument, "could not get container for x"},
		"restart policy": {func(req *container.CreateRequest) { req.HostConfig.RestartPolicy.Name = "sometimes" },
			errdefs.IsInvalidArgument, "sometimes"},
		"restart policy, count": {func(req *container.CreateRequest) {
			req.HostConfig.RestartPolicy = container.RestartPolicy{Name: "always", MaximumRetryCount: 2}
		}, errdefs.IsInvalidArgument, "maximum retry count"},
		"restart and remove": {func(req *container.CreateRequest) {
			req.HostConfig.RestartPolicy.Name, req.HostConfig.AutoRemove = "always", true
		}, errdefs.IsInvalidArgument, "AutoRemove"},
		"log driver": {func(req *container.CreateRequest) { req.HostConfig.LogConfig.Type = "syslog" },
			errdefs.IsInvalidArgument, "logger: no log driver named 'syslog' is registered"},
		"log options": {func(req *container.CreateRequest) {
			req.HostConfig.LogConfig.Config = map[string]string{"size": "1"}
		}, errdefs.IsInvalidArgument, "unknown log opt 'size' for json-file log driver"},
		"profile": {func(req *container.CreateRequest) { req.HostConfig.SecurityOpt = []string{"seccomp={"} },
			errdefs.IsInvalidArgument, "seccomp profile"},
		"security option": {func(req *container.CreateRequest) { req.HostConfig.SecurityOpt = []string{"nope=1"} },
			errdefs.IsInvalidArgument, "invalid --security-opt 2"},
		"device rule": {func(req *container.CreateRequest) { req.HostConfig.DeviceCgroupRules = []string{"x"} },
			errdefs.IsInvalidArgument, "invalid device cgroup rule format: 'x'"},
		"gpus": {func(req *container.CreateRequest) {
			req.HostConfig.DeviceRequests = []container.DeviceRequest{{Count: -1, Capabilities: [][]string{{"gpu"}}}}
		}, errdefs.IsNotImplemented, `could not select device driver "" with capabilities: [[gpu]]`},
		"cdi": {func(req *container.CreateRequest) {
			req.HostConfig.DeviceRequests = []container.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"a.b/c=d"}}}
		}, errdefs.IsNotImplemented, "unresolvable CDI devices a.b/c=d"},
		"storage option": {func(req *container.CreateRequest) { req.HostConfig.StorageOpt = map[string]string{"size": "1G"} },
			errdefs.IsNotImplemented, "--storage-opt is not supported"},
		"volume driver": {func(req *container.CreateRequest) { req.HostConfig.VolumeDriver = "x" },
			errdefs.IsInvalidArgument, `error looking up volume plugin x: plugin "x" not found`},
		"host name": {func(req *container.CreateRequest) { req.Hostname = strings.Repeat("x", 65) },
			errdefs.IsInvalidArgument, "is too long (maximum 64 bytes)"},
		"the host's name": {func(req *container.CreateRequest) { req.Hostname, req.HostConfig.UTSMode = "x", "host" },
			errdefs.IsInvalidArgument, "hostname and the UTS mode"},
		"the host's domain": {func(req *container.CreateRequest) { req.Domainname, req.HostConfig.UTSMode = "x", "host" },
			errdefs.IsInvalidArgument, "domainname and the UTS mode"},
		"reservation": {func(req *container.CreateRequest) { req.HostConfig.MemoryReservation = 1 },
			errdefs.IsInvalidArgument, "Minimum memory reservation allowed is 6MB"},
		"real time": {func(req *container.CreateRequest) {
			req.HostConfig.CPURealtimePeriod, req.HostConfig.CPURealtimeRuntime = 1, 2
		}, errdefs.IsInvalidArgument, "cpu real-time runtime cannot be higher"},
		"own network": {func(req *container.CreateRequest) {
			req.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"mine": {}}}
		}, errdefs.IsNotImplemented, "mine"},
		"aliases": {func(req *container.CreateRequest) {
			req.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"none": {Aliases: []string{"a"}}}}
		}, errdefs.IsNotImplemented, "Aliases"},
		"signal": {func(req *container.CreateRequest) { req.StopSignal = "SIGNOPE" }, errdefs.IsInvalidArgument,
			"SIGNOPE"},
		"capability": {func(req *container.CreateRequest) { req.HostConfig.CapAdd = []string{"FLY"} },
			errdefs.IsInvalidArgument, "FLY"},
		"ulimit": {func(req *container.CreateRequest) {
			req.HostConfig.Ulimits = []*container.Ulimit{{Name: "nope", Soft: 1, Hard: 1}}
		}, errdefs.IsInvalidArgument, "nope"},
		"oom score": {func(req *container.CreateRequest) { req.HostConfig.OomScoreAdj = 2000 },
			errdefs.IsInvalidArgument, "2000"},
		"memory": {func(req *container.CreateRequest) { req.HostConfig.Memory = 1 }, errdefs.IsInvalidArgument, "6MB"},
		"working dir": {func(req *container.CreateRequest) { req.WorkingDir = "here" }, errdefs.IsInvalidArgument,
			"absolute"},
		"labels": {func(req *container.CreateRequest) {
			req.Labels = map[string]string{"l": strings.Repeat("x", containers.MaxLabels)}
		}, errdefs.IsInvalidArgument, "labels"},
		"extra host": {func(req *container.CreateRequest) { req.HostConfig.ExtraHosts = []string{"here"} },
			errdefs.IsInvalidArgument, "here"},
	} {
		req := createRequest("exit 0")
		c.change(&req)
		_, err := r.e.ContainerCreate(t.Context(), "", req, CreateOptions{})
		if !c.is(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"-x", "a b", "ä", strings.Repeat("a", 256), "x/y"} {
		if _, err := r.e.ContainerCreate(t.Context(), name,
			createRequest("exit 0"), CreateOptions{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	_, err := r.e.ContainerCreate(t.Context(), "", createRequest("exit 0"), CreateOptions{Platform: "plan9/mips"})
	if !errdefs.IsNotFound(err) {
		t.Errorf("platform: %v", err)
	}
	r.empty()
}

func TestNameTaken(t *testing.T) {
	r := newRig(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var made []string
	for range 20 {
		all.Go(func() {
			answer, err := r.e.ContainerCreate(t.Context(), "mine", createRequest("exit 0"), CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, answer.ID)
			} else if !errdefs.IsConflict(err) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(made) != 1 || r.task("mine").ID != made[0] {
		t.Fatalf("%d containers have the name", len(made))
	}
	other := r.create("other", "exit 0")
	if err := r.e.ContainerRename(t.Context(), other, "mine"); !errdefs.IsConflict(err) {
		t.Errorf("rename: %v", err)
	}
	must(t, r.e.ContainerRename(t.Context(), "mine", "yours"))
	must(t, r.e.ContainerRename(t.Context(), other, "mine"))
	for ref, id := range map[string]string{"mine": other, "/yours": made[0], other[:12]: other} {
		if got := r.task(ref).ID; got != id {
			t.Errorf("%s is %s", ref, got)
		}
	}
	for _, ref := range []string{"", "other", "/"} {
		if _, err := r.e.find(ref); !errdefs.IsNotFound(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	r.reopen()
	if r.task("mine").ID != other || r.task("yours").ID != made[0] {
		t.Error("names changed over the restart")
	}
}

// Names that are moved between containers always belong to the right container.
func TestNamesGoAround(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 10 {
				name := fmt.Sprintf("n%d", i%2)
				answer, err := r.e.ContainerCreate(ctx, name, createRequest("exit 0"), CreateOptions{})
				if err != nil {
					continue
				}
				_ = r.e.ContainerRename(ctx, answer.ID, "moved") // the name may be taken
				if err := r.e.ContainerRemove(ctx, answer.ID, RemoveOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r.empty()
	if n := len(r.e.registry.Names); n != 0 {
		t.Errorf("%d names are left", n)
	}
}

func TestSeveralBeginSo(t *testing.T) {
	g := containers.NewRegistry()
	for _, id := range []string{"abc1", "abc2", "b"} {
		g.Add(containers.New(nil, &record.Record{ID: id, Version: 1}), "name-"+id)
	}
	g.Add(containers.New(nil, &record.Record{ID: "abc12"}), "name-unborn")
	for ref, want := range map[string]string{"abc1": "abc1", "b": "b", "name-abc2": "abc2"} {
		if o, err := g.Find(ref); err != nil || o.ID != want {
			t.Errorf("%q: %v", ref, err)
		}
	}
	if _, err := g.Find("ab"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("ab: %v", err)
	}
	for _, ref := range []string{"name-unborn", "abc12"} {
		if _, err := g.Find(ref); !errdefs.IsNotFound(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// A creation that fails at any step leaves nothing, and its name can be used again.
func TestFailedCreate(t *testing.T) {
	r := newRig(t)
	img, err := r.e.images.Resolve(t.Context(), "box")
	must(t, err)
	t.Run("directory", func(t *testing.T) {
		dir := filepath.Join(r.root, "containers")
		must(t, mountTmpfs(dir, unix.MS_RDONLY))
		_, err := r.e.ContainerCreate(t.Context(), "x1", createRequest("exit 0"), CreateOptions{})
		if err == nil {
			t.Error("it was created")
		}
		must(t, unmount(dir))
		r.empty()
	})
	t.Run("root filesystem", func(t *testing.T) {
		_, err := r.e.ImageRemove(t.Context(), "box", true, true)
		must(t, err)
		must(t, r.e.images.(*images.Store).Collect(t.Context()))
		rec, err := r.e.newRecord(createRequest("exit 0"), img)
		must(t, err)
		if err := r.e.create(t.Context(), rec, "x1", img); !errdefs.IsNotFound(err) {
			t.Errorf("create: %v", err)
		}
		r.empty()
	})
	t.Run("client gone", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		rec, err := r.e.newRecord(createRequest("exit 0"), img)
		must(t, err)
		if err := r.e.create(ctx, rec, "x1", img); err == nil {
			t.Error("it was created")
		}
		r.empty()
	})
}

// A container that is being created is not visible.
func TestUnbornIsHidden(t *testing.T) {
	r := newRig(t)
	img, err := r.e.images.Resolve(t.Context(), "box")
	must(t, err)
	rec, err := r.e.newRecord(createRequest("exit 0"), img)
	must(t, err)
	o := r.e.newTask(rec)
	must(t, r.e.writeCreated(t.Context(), o, rec, "x1"))
	if list, err := r.e.ContainerList(t.Context(), ListOptions{All: true}); err != nil || len(list) != 0 {
		t.Errorf("%d containers, %v", len(list), err)
	}
	if _, err := r.e.ContainerInspect(t.Context(), "x1", false); !errdefs.IsNotFound(err) {
		t.Errorf("inspect: %v", err)
	}
	if uses := (imageUsers{r.e.registry}).ImageUses(img.ID); len(uses) != 1 {
		t.Errorf("%d uses of its image", len(uses))
	}
	must(t, r.e.forget(t.Context(), o))
	r.empty()
}

// TestCreateKeepsTheManifest checks that a container shows the manifest that it was made from, whatever becomes of the
// image, and after a restart of the engine.
func TestCreateKeepsTheManifest(t *testing.T) {
	r := newRig(t)
	img, err := r.e.images.Resolve(t.Context(), "box")
	must(t, err)
	id := r.create("", "exit 0")
	_, err = r.e.ImageRemove(t.Context(), "box", true, false)
	must(t, err)
	r.reopen()
	is, err := r.e.ContainerInspect(t.Context(), id, false)
	must(t, err)
	d := is.ImageManifestDescriptor
	if d == nil || d.Digest != img.Manifest.Digest || d.Size != img.Manifest.Size || d.MediaType != img.Manifest.MediaType {
		t.Fatalf("%+v, not %+v", d, img.Manifest)
	}
	if d.Platform.OS != img.Config.OS || d.Platform.Architecture != img.Config.Architecture {
		t.Errorf("platform %+v, not %+v", d.Platform, img.Config.Platform)
	}
}

// TestNetworkWarning warns of the missing bridge where the request names it, as docker's command line does by "default".
func TestNetworkWarning(t *testing.T) {
	r := newRig(t)
	for mode, warns := range map[container.NetworkMode]bool{"": false, "default": true, "bridge": true, "none": false, "host": false} {
		made, err := r.e.ContainerCreate(t.Context(), "", container.CreateRequest{
			Config: &container.Config{Image: "box", Cmd: []string{"true"}}, HostConfig: &container.HostConfig{NetworkMode: mode},
		}, CreateOptions{})
		must(t, err)
		if got := strings.Contains(strings.Join(made.Warnings, " "), "no bridged networks"); got != warns {
			t.Errorf("mode %q: %q", mode, made.Warnings)
		}
		must(t, r.e.ContainerRemove(t.Context(), made.ID, RemoveOptions{}))
	}
}
