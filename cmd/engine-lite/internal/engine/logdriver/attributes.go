package logdriver

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// extraAttributes are the labels and the environment variables that the options name.
func extraAttributes(r *record.Record) (map[string]string, error) {
	found := map[string]string{}
	options := r.HostConfig.LogConfig.Config
	if err := choose(found, r.Config.Labels, options["labels"], options["labels-regex"]); err != nil {
		return nil, err
	}
	variables := map[string]string{}
	for _, kv := range r.Config.Env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			variables[key] = value
		}
	}
	if len(variables) == 0 { // dockerd doesn't look at the expression then
		return found, nil
	}
	if err := choose(found, variables, options["env"], options["env-regex"]); err != nil {
		return nil, err
	}
	return found, nil
}

// choose copies what a list of names, divided by commas, or an expression chooses.
func choose(to, from map[string]string, list, expression string) error {
	for name := range strings.SplitSeq(list, ",") {
		if value, ok := from[name]; ok && list != "" {
			to[name] = value
		}
	}
	if expression == "" {
		return nil
	}
	match, err := regexp.Compile(expression)
	if err != nil {
		return err
	}
	for name, value := range from {
		if match.MatchString(name) {
			to[name] = value
		}
	}
	return nil
}

// expandTag is the tag that the options ask for; empty for none.
func expandTag(r *record.Record) (string, error) {
	text := r.HostConfig.LogConfig.Config["tag"]
	if text == "" {
		return "", nil
	}
	t, err := template.New("log-tag").Funcs(tagFunctions).Parse(text)
	if err != nil {
		return "", err
	}
	var tag bytes.Buffer
	if err := t.Execute(&tag, newTagInfo(r)); err != nil {
		return "", err
	}
	return tag.String(), nil
}

// tagFunctions are those that a tag's template may call in dockerd.
var tagFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return strings.TrimSpace(b.String()), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"title": strings.Title, //nolint:staticcheck // dockerd's own function, so that the same template has the same tag
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"pad": func(s string, before, after int) string {
		if s == "" {
			return s
		}
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
	},
	"truncate": func(s string, length int) string { return s[:min(len(s), length)] },
}

// tagInfo is what a tag's template may ask for. The names of fields and methods are those of dockerd.
type tagInfo struct {
	Config              map[string]string
	ContainerID         string
	ContainerName       string
	ContainerEntrypoint string
	ContainerArgs       []string
	ContainerImageID    string
	ContainerImageName  string
	ContainerCreated    time.Time
	ContainerEnv        []string
	ContainerLabels     map[string]string
	LogPath             string
	DaemonName          string
}

func newTagInfo(r *record.Record) *tagInfo {
	return &tagInfo{
		Config: r.HostConfig.LogConfig.Config, ContainerID: r.ID, ContainerName: "/" + r.Name, ContainerEntrypoint: r.Path,
		ContainerArgs: r.Args, ContainerImageID: r.Image, ContainerImageName: r.Config.Image, ContainerCreated: r.Created,
		ContainerEnv: r.Config.Env, ContainerLabels: r.Config.Labels, DaemonName: "docker",
	}
}

// shortID is the form in which ids are shown.
func shortID(id string) string {
	if _, digest, ok := strings.Cut(id, ":"); ok {
		id = digest
	}
	return id[:min(len(id), 12)]
}

func (i *tagInfo) ID() string                { return shortID(i.ContainerID) }
func (i *tagInfo) FullID() string            { return i.ContainerID }
func (i *tagInfo) Name() string              { return strings.TrimPrefix(i.ContainerName, "/") }
func (i *tagInfo) ImageID() string           { return shortID(i.ContainerImageID) }
func (i *tagInfo) ImageFullID() string       { return i.ContainerImageID }
func (i *tagInfo) ImageName() string         { return i.ContainerImageName }
func (i *tagInfo) Hostname() (string, error) { return os.Hostname() }

func (i *tagInfo) Command() string {
	return strings.Join(append([]string{i.ContainerEntrypoint}, i.ContainerArgs...), " ")
}
