package volumes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/moby/sys/mount"
	"github.com/moby/sys/mountinfo"
)

// mountOnce mounts the file system that a volume's options name at a directory, if it is not mounted there. mount(2)
// has no bound: a file server that does not answer holds up those who use this volume.
func mountOnce(ctx context.Context, v Volume, at string) error {
	there, err := mountinfo.Mounted(at)
	if err != nil {
		return fmt.Errorf("whether volume %s is mounted: %w", v.Name, err)
	}
	if there {
		return nil
	}
	device, options, err := source(ctx, v.Options, lookUp)
	if device == "none" || device == "" {
		device = v.Options["type"] // moby/sys/mount takes "none" without options for a change of a mount, and does nothing
	}
	if err == nil {
		err = mount.Mount(device, at, v.Options["type"], options)
	}
	if err != nil {
		return fmt.Errorf("error while mounting volume '%s': failed to mount local volume: %s",
			at, masked(err.Error(), v.Options["o"]))
	}
	return nil
}

// masked is an error's text without the password that is among a volume's mount options.
func masked(text, options string) string {
	if password := option(options, "password"); password != "" {
		text = strings.ReplaceAll(text, "password="+password, "password=********")
	}
	return text
}

// option returns the value of a mount option; empty where it is not there.
func option(options, name string) string {
	for o := range strings.SplitSeq(options, ",") {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return value
		}
	}
	return ""
}

// resolver returns an address of a host.
type resolver func(ctx context.Context, host string) (string, error)

// lookUp returns an address of a host, of IPv4 if there is one.
func lookUp(ctx context.Context, host string) (string, error) {
	all, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
	}
	if i := slices.IndexFunc(all, func(a net.IPAddr) bool { return a.IP.To4() != nil }); i >= 0 {
		return all[i].String(), nil
	}
	return all[0].String(), nil
}

// source returns device and options for mount(2). The kernel's nfs and cifs take addresses only, so names of hosts are
// looked up.
func source(ctx context.Context, o map[string]string, lookUp resolver) (device, options string, err error) {
	device, options = o["device"], o["o"]
	if device == "" {
		return "", "", errors.New("missing device in volume options")
	}
	if o["type"] != "nfs" && o["type"] != "cifs" {
		return device, options, nil
	}
	if host := option(options, "addr"); host != "" && net.ParseIP(host).To4() == nil {
		address, err := lookUp(ctx, host)
		return device, strings.Replace(options, "addr="+host, "addr="+address, 1), err
	}
	if o["type"] == "cifs" {
		device, err = cifsDevice(ctx, device, lookUp)
	}
	return device, options, err
}

// cifsDevice returns a device, such as //host/share, with the address in place of the host.
func cifsDevice(ctx context.Context, device string, lookUp resolver) (string, error) {
	u, err := url.Parse(device)
	if err != nil {
		return "", fmt.Errorf("error parsing mount device url: %w", err)
	}
	if u.Host == "" || net.ParseIP(u.Host) != nil {
		return device, nil
	}
	if u.Host, err = lookUp(ctx, u.Host); err != nil {
		return "", err
	}
	plain, err := url.QueryUnescape(u.String())
	if err != nil {
		return "", fmt.Errorf("failed to unescape device URL: %q", u)
	}
	return plain, nil
}
