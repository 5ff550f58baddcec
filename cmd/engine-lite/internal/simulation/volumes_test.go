package simulation

import (
	"fmt"
	"hash/crc32"
	"path/filepath"

	"github.com/moby/moby/api/types/mount"

	"github.com/engine-lite/engine-lite/journal"
)

// Every second container has two volumes: one of its user, which stays, and one without a name. Nothing is copied into
// them, so that nothing is mounted: that needs no root.
const volumesEach = 2

func hasVolumes(containerName string) bool { return crc32.ChecksumIEEE([]byte(containerName))%2 == 0 }

func (u *user) mounts() []mount.Mount {
	if !hasVolumes(u.containerName) {
		return nil
	}
	volume := func(target, name string) mount.Mount {
		return mount.Mount{
			Type: mount.TypeVolume, Source: name, Target: target, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		}
	}
	return []mount.Mount{volume("/data", u.name+"-data"), volume("/anonymous", "")}
}

// volumeHistory is the state of a volume that follows from its events so far.
type volumeHistory struct {
	exists bool
	mounts int
}

// volumeEvent checks an event of a volume.
func (m *model) volumeEvent(ev journal.Event) error {
	v := m.volumes[ev.ID]
	if v == nil {
		v = &volumeHistory{}
		m.volumes[ev.ID] = v
	}
	if v.exists == (ev.Action == "create") {
		return fmt.Errorf("does the volume exist: %t", v.exists)
	}
	h := m.containers[ev.Attributes["container"]]
	if h == nil && ev.Attributes["container"] != "" {
		return fmt.Errorf("its container has no event")
	}
	switch ev.Action {
	case "create":
		v.exists = true
	case "destroy":
		v.exists = false
		if v.mounts != 0 {
			return fmt.Errorf("it is mounted %d times", v.mounts)
		}
	case "mount":
		v.mounts++
		h.mounted++
	case "unmount":
		v.mounts--
		h.mounted--
	}
	return nil
}

// compareVolume checks that a volume has a record as long as its events say that it exists.
func (m *model) compareVolume(s *journal.Snapshot, name string) {
	if _, there := s.Get("volume", name); there != m.volumes[name].exists {
		m.w.violation("the volume %s has a record: %t; by its events it exists: %t", name, there, m.volumes[name].exists)
	}
}

// checkMounted checks that a container has its volumes mounted while it runs, by the events of volumes.
func (m *model) checkMounted(id string, h *history) {
	want := 0
	if h.alive() && hasVolumes(h.name) {
		want = volumesEach
	}
	if h.mounted != want {
		m.w.violation("%s is %s, and has %d volumes mounted", short(id), h.status, h.mounted)
	}
}

// removeVolumes removes the volumes of the users, whose containers are gone.
func (w *world) removeVolumes(i *engineInstance) {
	list, _, err := i.engine.VolumeList(i.ctx, nil)
	w.must(err)
	for _, v := range list {
		w.must(i.engine.VolumeRemove(i.ctx, v.Name, false))
	}
}

// volumeFiles are what is left in the directories of volumes, but for the engine's own directories.
func (i *engineInstance) volumeFiles() []string {
	var left []string
	for _, pattern := range []string{"[^.]*", ".removed/*", ".filling/*", ".mounts/*"} {
		list, err := filepath.Glob(filepath.Join(i.root, "volumes", pattern))
		i.w.must(err)
		left = append(left, list...)
	}
	return left
}
