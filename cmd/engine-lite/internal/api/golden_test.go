package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is an engine with one of everything.
func golden() *fake {
	config := &container.Config{Image: "busybox", Cmd: []string{"true"}, Tty: true, Labels: map[string]string{"a": "b"}}
	endpoint := &network.EndpointSettings{
		NetworkID: "n", EndpointID: "e", IPAddress: netip.MustParseAddr("172.17.0.2"), IPPrefixLen: 16,
		Gateway: netip.MustParseAddr("172.17.0.1"), MacAddress: network.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
	networks := map[string]*network.EndpointSettings{"bridge": endpoint}
	summary := container.Summary{
		ID: "c1", Names: []string{"/web"}, Image: "busybox", ImageID: "sha256:1", Command: "true", Created: 1700000000,
		State: "running", Status: "Up 5 seconds", Health: &container.HealthSummary{Status: "healthy"},
		ImageManifestDescriptor: &ocispec.Descriptor{MediaType: "m", Digest: "sha256:2", Size: 3},
		NetworkSettings:         &container.NetworkSettingsSummary{Networks: networks},
	}
	summary.HostConfig.NetworkMode = "bridge"
	summary.HostConfig.Annotations = map[string]string{"x": "y"}
	health := &container.Health{Status: "unhealthy", FailingStreak: 3, Log: []*container.HealthcheckResult{{
		Start: time.Unix(1700000001, 5).UTC(), End: time.Unix(1700000002, 0).UTC(), ExitCode: 1, Output: "no answer\n",
	}}}
	commit := system.Commit{ID: "1.1.5"}
	f := &fake{}
	f.list = []container.Summary{summary}
	f.inspect = container.InspectResponse{
		ID: "c1", Created: "2023-11-14T22:13:20Z", Path: "true", Image: "sha256:1", Name: "/web", Driver: "overlayfs",
		Platform: "linux",
		State: &container.State{Status: "running", Running: true, Pid: 42, StartedAt: "2023-11-14T22:13:20Z",
			FinishedAt: "0001-01-01T00:00:00Z", Health: health},
		Config: config, HostConfig: &container.HostConfig{NetworkMode: "bridge"},
		Storage:         &storage.Storage{},
		NetworkSettings: &container.NetworkSettings{Networks: networks},
	}
	f.image = image.InspectResponse{
		ID: "sha256:1", RepoTags: []string{"busybox:latest"}, Created: "2023-11-14T22:13:20Z", Architecture: "amd64",
		Os: "linux", Size: 5,
		RootFS:     image.RootFS{Type: "layers", Layers: []string{"sha256:3"}},
		Descriptor: &ocispec.Descriptor{MediaType: "m", Digest: "sha256:2", Size: 3},
		Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
			Cmd: []string{"sh"}, Env: []string{"PATH=/bin"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}, "x/y/z": {}},
		}},
	}
	f.images = []image.Summary{
		{ID: "sha256:1", RepoTags: []string{"busybox:latest"}, Size: 5, SharedSize: -1,
			Descriptor: &ocispec.Descriptor{Digest: "sha256:2"}},
		{ID: "sha256:4", Size: 6, SharedSize: -1},
	}
	f.networks = []network.Summary{{Network: network.Network{Name: "none", ID: "n0", Driver: "null", Scope: "local",
		Created: time.Unix(1700000000, 0).UTC()}}}
	sized := summary
	sized.SizeRw, sized.SizeRootFs, sized.ImageManifestDescriptor = 7, 12, nil
	f.usage = system.DiskUsage{
		ImageUsage: &image.DiskUsage{TotalCount: 2, ActiveCount: 1, TotalSize: 10, Reclaimable: 5,
			Items: []image.Summary{{ID: "sha256:1", RepoTags: []string{"busybox:latest"}, RepoDigests: []string{},
				Size: 5, SharedSize: 1, Containers: 1}, {ID: "sha256:4", Size: 6, SharedSize: 1}}},
		ContainerUsage: &container.DiskUsage{TotalCount: 1, ActiveCount: 1, TotalSize: 7,
			Items: []container.Summary{sized}},
		VolumeUsage: &volume.DiskUsage{TotalCount: 1, TotalSize: 3, Reclaimable: 3,
			Items: []volume.Volume{{Name: "v", Driver: "local", Scope: "local",
				UsageData: &volume.UsageData{Size: 3}}}},
		BuildCacheUsage: &build.DiskUsage{},
	}
	f.volumes = []volume.Volume{{Name: "v", Driver: "local", Mountpoint: "/volumes/v/_data", Scope: "local",
		CreatedAt: "2023-11-14T22:13:20Z", Labels: map[string]string{"a": "b"}}}
	f.info = system.Info{ID: "i", Name: "host", RuncCommit: commit, ContainerdCommit: commit,
		FirewallBackend: &system.FirewallInfo{Driver: "d"}}
	f.version = system.VersionResponse{
		Version: "0.1", Os: "linux", Arch: "amd64",
		Components: []system.ComponentVersion{{Name: "Engine", Version: "0.1"}, {Name: "runc", Version: "1.1.5"}},
	}
	return f
}

// TestGolden has the answers as they were agreed on, oldest and newest shape.
// Run with -update after a change, and read the difference.
func TestGolden(t *testing.T) {
	d := newDaemon(t, golden())
	for name, path := range map[string]string{
		"list-1.24":          "/v1.24/containers/json",
		"list-1.53":          "/v1.53/containers/json",
		"inspect-1.41":       "/v1.41/containers/c1/json",
		"inspect-1.53":       "/v1.53/containers/c1/json",
		"image-inspect-1.41": "/v1.41/images/busybox/json",
		"image-inspect-1.53": "/v1.53/images/busybox/json",
		"images-1.41":        "/v1.41/images/json",
		"images-1.53":        "/v1.53/images/json",
		"df-1.41":            "/v1.41/system/df",
		"df-1.48":            "/v1.48/system/df",
		"df-1.53":            "/v1.53/system/df",
		"df-1.53-verbose":    "/v1.53/system/df?verbose=1",
		"networks":           "/networks",
		"volumes":            "/volumes",
		"version":            "/version",
		"info-1.41":          "/v1.41/info",
		"info-1.53":          "/v1.53/info",
	} {
		t.Run(name, func(t *testing.T) {
			a := d.do(get, path, "")
			if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %v", a.status, a.header)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, []byte(a.body), "", "\t"); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the answer is not that of %s:\n%s", file, got.Bytes())
			}
		})
	}
}

func TestPing(t *testing.T) {
	d := newDaemon(t, &fake{})
	for _, method := range []string{get, head} {
		a := d.do(method, "/_ping", "")
		for key, want := range map[string]string{
			"Api-Version": MaxVersion, "Builder-Version": "1", "Docker-Experimental": "false", "Ostype": "linux",
			"Server": "engine-lite/test (linux)", "Cache-Control": "no-cache, no-store, must-revalidate",
		} {
			if got := a.header.Get(key); got != want {
				t.Errorf("%s: %s: %q", method, key, got)
			}
		}
		if want := map[string]string{get: "OK"}[method]; a.body != want {
			t.Errorf("%s: %q", method, a.body)
		}
	}
}
