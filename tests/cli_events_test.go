package tests

import (
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
		d.fails(t, 3, "", "run", "--network", "none", "--name", name, "--label", "color=red", "busybox", "sh", "-c", "exit 3")
		d.ok(t, "rm", name)
		live.await(t, "destroy "+name)
		line := func(action, code string) string { return fmt.Sprintf("%s %s busybox red %s", action, name, code) }
		const none = "<no value>"
		want := []string{line("create", none), line("attach", none), line("start", none), line("die", "3"), line("destroy", none)}
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
			args := []string{"events", "--since", since, "--until", until, "--format", format, "--filter", "container=" + name}
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
