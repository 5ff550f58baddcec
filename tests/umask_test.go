package tests

import "testing"

func TestUmask(t *testing.T) {
	t.Parallel()
	umasks(t, oneDocker(t, sharedRig(t)), false) // runc 1.1.5 gives execs no umask
}

// umasks has the umask of a container in its process and, where the OCI runtime can, in execs, also of another user.
// Without one the OCI runtime's own holds.
func umasks(t *testing.T, d docker, execs bool) {
	t.Helper()
	for umask, want := range map[string]string{`"Umask": 0,`: "0000", `"Umask": 511,`: "0777", "": "0022"} {
		var c inspected
		d.must(t, &c, "POST", "/containers/create", `{"Image": "busybox", "User": "12", "Cmd": ["sh", "-c", "umask; sleep 1000"],
			"HostConfig": {`+umask+` "NetworkMode": "none"}}`)
		d.ok(t, "start", c.ID)
		await(t, "the process tells its umask", func() bool { return d.ok(t, "logs", c.ID) == want })
		for _, user := range []string{"12", "root"} {
			if !execs {
				break
			}
			if got := d.ok(t, "exec", "-u", user, c.ID, "sh", "-c", "umask"); got != want {
				t.Errorf("an exec of %s with %s has the umask %s", user, umask, got)
			}
		}
		d.ok(t, "rm", "-f", c.ID)
	}
}
