package tests

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEvents follows a container's events, and replays them.
func TestEvents(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		name := d.name(t)
		since := fmt.Sprint(time.Now().Unix())
		const format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.image}} {{.Actor.Attributes.color}} {{.Actor.Attributes.exitCode}}"
		live := d.background(t, nil, "events", "--since", since, "--filter", "container="+name, "--format", format)
		d.fails(t, 3, "", "run", "--network", "none", "--name", name, "--label", "color=red", "busybox", "sh", "-c",
			"exit 3")
		d.ok(t, "rm", name)
		live.await(t, "destroy "+name)
		line := func(action, code string) string { return fmt.Sprintf("%s %s busybox red %s", action, name, code) }
		const none = "<no value>"
		want := []string{line("create", none), line("attach", none), line("start", none), line("die", "3"),
			line("destroy", none)}
		normal := func(text string) []string {
			text = strings.ReplaceAll(text, "red \n", "red "+none+"\n")
			var lines []string
			for l := range strings.Lines(text) {
				if l = strings.TrimSuffix(l, "\n"); !strings.HasPrefix(l, "resize") {
					lines = append(lines, l)
				}
			}
			return lines
		}
		if got := normal(live.stdout.String()); !slices.Equal(got, want) {
			t.Errorf("docker events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		until := fmt.Sprint(time.Now().Unix() + 1)
		replay := func(filters ...string) string {
			args := []string{"events", "--since", since, "--until", until, "--format", format, "--filter",
				"container=" + name}
			return d.ok(t, append(args, filters...)...) + "\n"
		}
		if got := normal(replay()); !slices.Equal(got, want) {
			t.Errorf("the replay:\n%s", strings.Join(got, "\n"))
		}
		if got := normal(replay("--filter", "event=die", "--filter", "event=start")); !slices.Equal(got, want[2:4]) {
			t.Errorf("start and die:\n%s", strings.Join(got, "\n"))
		}
		if got := strings.TrimSpace(replay("--filter", "type=image")); got != "" {
			t.Errorf("images: %q", got)
		}
		if got := normal(replay("--filter", "label=color=red")); !slices.Equal(got, want) {
			t.Errorf("with the label: %q", got)
		}
		if got := strings.TrimSpace(replay("--filter", "label=color=blue")); got != "" {
			t.Errorf("with another label: %q", got)
		}
	})
}

// TestImageEvents checks the events of an image, with the names that Docker gives them.
func TestImageEvents(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		since := fmt.Sprint(time.Now().Unix())
		name, other := d.imageName(t), d.imageName(t)
		r := d.feed(t, bytes.NewReader(smallTar(t, name)), "import", "-c", "LABEL color=red", "-", name)
		if r.code != 0 {
			t.Fatalf("docker import: %+v", r)
		}
		id := strings.TrimSpace(r.stdout)
		d.ok(t, "tag", name, other+":v2")
		d.forgetImage(t, other+":v2")
		archive := d.ok(t, "save", name)
		d.ok(t, "rmi", name)
		d.ok(t, "rmi", other+":v2")
		if r := d.feed(t, strings.NewReader(archive+"\n"), "load"); r.code != 0 {
			t.Fatalf("docker load: %+v", r)
		}
		g := newRegistry(t, "", smallTar(t, t.Name()))
		ref := g.host + "/some/thing"
		d.forgetImage(t, ref)
		d.ok(t, "pull", "-q", ref+":v1")
		d.forgetImage(t, ref+":v1")
		events := func(filter string) []string {
			out := d.ok(t, "events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "--filter",
				"type=image", "--filter", filter,
				"--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}")
			return strings.Split(out, "\n")
		}
		want := []string{
			"tag " + id + " " + name + ":latest", "import " + id + " " + id,
			"tag " + id + " " + other + ":v2", "save " + id + " " + id,
			"untag " + id + " " + name + ":latest",
			"untag " + id + " " + other + ":v2", "delete " + id + " " + id, "load " + id + " " + id,
		}
		if got := events("image=" + id); !slices.Equal(got, want) {
			t.Errorf("by id: %q, want %q", got, want)
		}
		if got := events("image=" + other); !slices.Equal(got, []string{want[2], want[5]}) {
			t.Errorf("by name: %q", got)
		}
		if got := events("image=" + ref); !slices.Equal(got, []string{"pull " + ref + ":v1 " + ref}) {
			t.Errorf("of the pull: %q", got)
		}
		if got := events("label=color=red"); !slices.Contains(got, want[1]) || slices.Contains(got, want[6]) {
			t.Errorf("by label: %q", got)
		}
	})
}
