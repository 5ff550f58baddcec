package tests

import (
	"strings"
	"testing"
)

// TestErrors checks status and message of errors of the API.
func TestErrors(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	up := d.sleeper(t)
	create := func(name, fields string) (string, string, string) {
		return "POST", "/containers/create?name=" + name, `{"Image":"busybox","Cmd":["true"]` + fields + `}`
	}
	for _, path := range []string{"json", "logs?stdout=1", "top"} {
		d.refused(t, 404, "No such container: nobody", "GET", "/containers/nobody/"+path, "")
	}
	for _, path := range []string{"start", "stop", "kill", "wait", "pause", "rename?name=x", "attach?stream=1"} {
		d.refused(t, 404, "No such container: nobody", "POST", "/containers/nobody/"+path, "")
	}
	d.refused(t, 404, "No such container: nobody", "DELETE", "/containers/nobody", "")
	d.refused(t, 404, "nothing", "POST", "/containers/create", `{"Image":"nothing"}`)
	d.refused(t, 404, "page not found", "GET", "/nonsense", "")
	method, path, body := create(up, "")
	d.refused(t, 409, "is already in use by container", method, path, body)
	method, path, body = create("-bad-", "")
	d.refused(t, 400, "-bad-", method, path, body)
	if a := d.call("POST", "/containers/"+up+"/start", ""); a.status != 304 || a.body != "" {
		t.Errorf("start of a running one: %+v", a)
	}
	d.refused(t, 409, "running", "DELETE", "/containers/"+up, "")
	d.refused(t, 400, "invalid signal", "POST", "/containers/"+up+"/kill?signal=NONSENSE", "")
	d.refused(t, 400, "no image", "POST", "/containers/create", `{"Cmd":["true"]}`)
	d.refused(t, 400, "config cannot be empty", "POST", "/containers/create", `{}`)
	d.refused(t, 400, "", "POST", "/containers/create", `{"Image":`)
	d.refused(t, 400, "", "POST", "/containers/create", `{"Image":7}`)
	d.refused(t, 400, "", "GET", "/containers/json?filters=nonsense", "")
	d.refused(t, 400, "too new", "GET", "/v1.999/containers/json", "")
	d.refused(t, 400, "", "GET", "/v1.1/containers/json", "")
	d.ok(t, "kill", up)
	if a := d.call("POST", "/containers/"+up+"/stop", ""); a.status != 304 {
		t.Errorf("stop of one that ended: %+v", a)
	}
}

// TestNotThereYet checks that requests that the engine does not support are answered with
// 501 and the name of what is missing.
func TestNotThereYet(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	up := oneDocker(t, r).sleeper(t)
	for name, host := range map[string]string{
		"PortBindings":    `"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}`,
		"Links":           `"Links":["` + up + `:b"]`,
		"NetworkMode":     `"NetworkMode":"mynet"`,
		"PublishAllPorts": `"PublishAllPorts":true`,
	} {
		r.refused(t, 501, name, "POST", "/containers/create", `{"Image":"busybox","HostConfig":{`+host+`}}`)
	}
	for runtime, status := range map[string]int{"io.containerd.kata.v2": 501, "kata": 400, "/bin/true": 400,
		"../x": 400, "io.containerd.x/../y.v2": 400} {
		r.refused(t, status, runtime, "POST", "/containers/create",
			`{"Image":"busybox","HostConfig":{"Runtime":"`+runtime+`"}}`)
	}
	r.refused(t, 501, "ClusterVolumeSpec", "POST", "/volumes/create", `{"Name":"vv","ClusterVolumeSpec":{}}`)
	r.refused(t, 501, "networks", "POST", "/networks/create", `{"Name":"n"}`)
	r.refused(t, 501, "images", "POST", "/build", "")
}

// TestNotThereYetCLI checks that the CLI shows that name.
func TestNotThereYetCLI(t *testing.T) {
	eachDocker(t, func(t *testing.T, d docker) {
		for _, c := range []struct {
			code int
			name string
			args string
		}{
			{125, "Port", "run --rm -p 8080:80 busybox true"},
			{1, "nfsd", "volume create -d nfsd vv"},
			{1, "networks", "network create n"},
		} {
			d.fails(t, c.code, c.name, strings.Fields(c.args)...)
		}
		if out := d.ok(t, "ps", "-aq", "--filter", "status=created"); strings.Contains(out, "error") {
			t.Error(out)
		}
	})
}

// TestWarnings checks that the answer to a create warns of the missing network, if the request names it.
func TestWarnings(t *testing.T) {
	t.Parallel()
	d := oneDocker(t, sharedRig(t))
	for mode, warns := range map[string]bool{"": false, "default": true, "bridge": true, "none": false, "host": false} {
		a := d.call("POST", "/containers/create?name="+d.name(t),
			`{"Image":"busybox","HostConfig":{"NetworkMode":"`+mode+`"}}`)
		if a.status != 201 || strings.Contains(a.body, "loopback") != warns {
			t.Errorf("network %q: %+v", mode, a)
		}
	}
}
