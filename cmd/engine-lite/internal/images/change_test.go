package images

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestChangeHealthcheck(t *testing.T) {
	for change, want := range map[string]*dockerspec.HealthcheckConfig{
		"HEALTHCHECK NONE":                 {Test: []string{"NONE"}},
		"healthcheck none":                 {Test: []string{"NONE"}},
		"HEALTHCHECK CMD curl -f http://x": {Test: []string{"CMD-SHELL", "curl -f http://x"}},
		`HEALTHCHECK CMD ["a", "b c"]`:     {Test: []string{"CMD", "a", "b c"}},
		"HEALTHCHECK --interval=1m --timeout=2s  --start-period=3s --start-interval=4ms --retries=5 CMD x": {
			Test: []string{"CMD-SHELL", "x"}, Interval: time.Minute, Timeout: 2 * time.Second,
			StartPeriod:   3 * time.Second,
			StartInterval: 4 * time.Millisecond, Retries: 5,
		},
		"HEALTHCHECK --interval=0s CMD x":  {Test: []string{"CMD-SHELL", "x"}},
		"HEALTHCHECK":                      nil,
		"HEALTHCHECK CMD":                  nil,
		"HEALTHCHECK CMD []":               nil,
		"HEALTHCHECK NONE x":               nil,
		"HEALTHCHECK curl":                 nil,
		"HEALTHCHECK --interval=3 CMD x":   nil,
		"HEALTHCHECK --interval=1us CMD x": nil,
		"HEALTHCHECK --retries=-1 CMD x":   nil,
		"HEALTHCHECK --nonsense=1 CMD x":   nil,
		"HEALTHCHECK --interval=1s":        nil,
	} {
		var c dockerspec.DockerOCIImageConfig
		err := ApplyChanges(&c, []string{change})
		switch {
		case want == nil && !errdefs.IsInvalidArgument(err):
			t.Errorf("%s: %v", change, err)
		case want != nil && (err != nil || !reflect.DeepEqual(c.Healthcheck, want)):
			t.Errorf("%s: %+v, %v", change, c.Healthcheck, err)
		}
	}
}

func TestApplyChanges(t *testing.T) {
	for change, want := range map[string]string{
		`CMD ["a","b c"]`:                    `{"Cmd":["a","b c"]}`,
		`cmd echo "hi there"`:                `{"Cmd":["/bin/sh","-c","echo \"hi there\""]}`,
		`ENTRYPOINT ["/init"]`:               `{"Entrypoint":["/init"]}`,
		`ENV A=1 B="x y" C='\z' D=p\ q`:      `{"Env":["A=1","B=x y","C=\\z","D=p q"]}`,
		`ENV A some words`:                   `{"Env":["A=some words"]}`,
		"ENV A=1\nENV B=2\nENV A=3":          `{"Env":["A=3","B=2"]}`,
		`EXPOSE 80 53/UDP 8000-8001/tcp`:     `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}}`,
		`LABEL a=b "c d"="e f"`:              `{"Labels":{"a":"b","c d":"e f"}}`,
		`STOPSIGNAL SIGINT`:                  `{"StopSignal":"SIGINT"}`,
		`USER 1000:1000`:                     `{"User":"1000:1000"}`,
		`VOLUME /a /b`:                       `{"Volumes":{"/a":{},"/b":{}}}`,
		`VOLUME ["/a b"]`:                    `{"Volumes":{"/a b":{}}}`,
		"WORKDIR /a\nWORKDIR b":              `{"WorkingDir":"/a/b"}`,
		``:                                   `{}`,
		"\n":                                 `{}`,
		"ONBUILD RUN x\nonbuild CMD [\"a\"]": `{"OnBuild":["RUN x","CMD [\"a\"]"]}`,
		"ENV A=/a B=2\nENV A=$A:/b C=${B:-3}${D:-4}": `{"Env":["A=/a:/b","B=2","C=24"]}`,
		"ENV P=\"1 2/udp\"\nEXPOSE $P 3":             `{"ExposedPorts":{"1/tcp":{},"2/udp":{},"3/tcp":{}},"Env":["P=1 2/udp"]}`,
		"ENV A=a\nCMD $A '$A'":                       `{"Env":["A=a"],"Cmd":["/bin/sh","-c","$A '$A'"]}`,
		"ENV A=1 \\\n  B=2":                          `{"Env":["A=1","B=2"]}`,
		"# escape=`\nENV A=\\x":                      `{"Env":["A=\\x"]}`,
		"# a comment\nUSER me":                       `{"User":"me"}`,
		`ENV A=x\`:                                   `{"Env":["A=x"]}`,
		"CMD a\nENTRYPOINT [\"b\"]":                  `{"Entrypoint":["b"],"Cmd":["/bin/sh","-c","a"]}`,
	} {
		var c dockerspec.DockerOCIImageConfig
		if err := ApplyChanges(&c, strings.Split(change, "\n")); err != nil {
			t.Errorf("%q: %v", change, err)
		}
		if got, _ := json.Marshal(c); string(got) != want {
			t.Errorf("%q: got %s", change, got)
		}
	}
	for _, change := range []string{
		"RUN x", "CMD", "ENV A", "ENV =1", "ENV A=1 B", `ENV A="x`, "LABEL x", "USER a b", "USER $A", "WORKDIR $A",
		"EXPOSE 0", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 1/x", "STOPSIGNAL a b", "STOPSIGNAL SIGNONE",
		`VOLUME [""]`, "VOLUME $A", "ONBUILD", "ONBUILD FROM a",
		"ENTRYPOINT", "EXPOSE 1:2", "# only a comment", "ENV A=${B", "# escape=x\nENV A=1", `CMD ["a", 1]`,
	} {
		if err := ApplyChanges(&dockerspec.DockerOCIImageConfig{}, []string{change}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", change, err)
		}
	}
}

// TestChangesOnBase has a configuration with a command and a shell before.
func TestChangesOnBase(t *testing.T) {
	for change, want := range map[string]string{
		`ENTRYPOINT ["b"]`:             `{"Entrypoint":["b"],"Shell":["/bin/bash","-c"]}`,
		"CMD a":                        `{"Cmd":["/bin/bash","-c","a"],"Shell":["/bin/bash","-c"]}`,
		"CMD [\"a\"]\nENTRYPOINT b":    `{"Entrypoint":["/bin/bash","-c","b"],"Cmd":["a"],"Shell":["/bin/bash","-c"]}`,
		"HEALTHCHECK --retries=2 NONE": `{"Cmd":["old"],"Healthcheck":{"Test":["NONE"]},"Shell":["/bin/bash","-c"]}`,
	} {
		var c dockerspec.DockerOCIImageConfig
		c.Cmd, c.Shell = []string{"old"}, []string{"/bin/bash", "-c"}
		if err := ApplyChanges(&c, strings.Split(change, "\n")); err != nil {
			t.Errorf("%q: %v", change, err)
		}
		if got, _ := json.Marshal(c); string(got) != want {
			t.Errorf("%q: got %s", change, got)
		}
	}
}

func TestChangesRefuseOthers(t *testing.T) {
	for _, word := range []string{"ADD", "ARG", "COPY", "from", "MAINTAINER", "Run", "SHELL", "nonsense"} {
		err := ApplyChanges(&dockerspec.DockerOCIImageConfig{}, []string{"ENV A=1", word + " x y"})
		if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), word+" is not a valid change command") {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// TestChangesBoundVariables has lines that double a value each.
func TestChangesBoundVariables(t *testing.T) {
	doubled := append([]string{"ENV A=12"}, slices.Repeat([]string{"ENV A=$A$A"}, 14)...)
	if err := ApplyChanges(&dockerspec.DockerOCIImageConfig{}, doubled); err != nil {
		t.Error(err)
	}
	for _, last := range []string{"USER $A", "EXPOSE $A"} {
		changes := append(slices.Clone(doubled), last)
		if err := ApplyChanges(&dockerspec.DockerOCIImageConfig{}, changes); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", last, err)
		}
	}
}

func FuzzApplyChanges(f *testing.F) {
	for _, word := range changeInstructions {
		f.Add(word + ` a=b "c d" 'e`)
		f.Add(word + ` ["a", "b"]`)
		f.Add(word + " 1-65535/udp")
	}
	f.Fuzz(func(t *testing.T, change string) {
		var c dockerspec.DockerOCIImageConfig
		if err := ApplyChanges(&c, []string{change}); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("unclassed error %v", err)
		}
		if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
			t.Errorf("working directory %q", c.WorkingDir)
		}
	})
}
