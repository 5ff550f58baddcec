package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

const (
	hubName = "docker.io"
	hubHost = "registry-1.docker.io"
)

// newResolver makes a resolver that uses the connections of client, with plain HTTP to
// loopback addresses and HTTPS to all others.
func newResolver(client *http.Client, named reference.Named, auth *Auth) remotes.Resolver {
	options := []docker.AuthorizerOpt{docker.WithAuthClient(client)}
	header := http.Header{}
	switch {
	case auth == nil:
	case auth.RegistryToken != "":
		header.Set("Authorization", "Bearer "+auth.RegistryToken)
	default:
		options = append(options, docker.WithAuthCreds(credentialsFor(reference.Domain(named), auth)))
	}
	authorizer := docker.NewDockerAuthorizer(options...)
	if len(header) > 0 {
		authorizer = nil
	}
	return docker.NewResolver(docker.ResolverOptions{
		Headers: header,
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithClient(client),
			docker.WithAuthorizer(authorizer),
			docker.WithPlainHTTP(docker.MatchLocalhost),
		),
	})
}

// credentialsFor returns a user's credentials for the registry of that domain, and none
// for a host that the registry redirects to.
func credentialsFor(domain string, auth *Auth) func(host string) (string, string, error) {
	if domain == hubName {
		domain = hubHost
	}
	return func(host string) (string, string, error) {
		switch {
		case host != domain:
			return "", "", nil
		case auth.IdentityToken != "":
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}
}

// registryError gives an error of a registry, or of the network, its class and names the
// reference.
func registryError(ctx context.Context, named reference.Named, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	name := reference.FamiliarString(named)
	class := registryErrorClass(err)
	switch {
	case class == nil:
		return fmt.Errorf("cannot pull %s: %w", name, err)
	case errors.Is(class, errdefs.ErrNotFound):
		return fmt.Errorf("manifest for %s not found: %w", name, class)
	case errors.Is(class, errdefs.ErrUnauthenticated), errors.Is(class, errdefs.ErrPermissionDenied):
		return fmt.Errorf("pull access denied for %s, repository does not exist or may require 'docker login': %v: %w",
			reference.FamiliarName(named), err, class)
	}
	return fmt.Errorf("cannot pull %s: %v: %w", name, err, class)
}

// registryErrorClass returns the class for an error; nil if the error has a fitting
// class already.
func registryErrorClass(err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	var network net.Error
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return errdefs.ErrUnauthenticated
	case errdefs.IsNotFound(err):
		return errdefs.ErrNotFound
	case errors.As(err, &status):
		return statusClass(status.StatusCode)
	case errdefs.IsFailedPrecondition(err): // the content isn't what its digest says
		return errdefs.ErrDataLoss
	case errors.As(err, &network):
		return errdefs.ErrUnavailable
	}
	return nil
}

// statusClass returns the class for a registry's HTTP status. errhttp would do that, but
// for a status without a class it returns the status itself, which our API would pass on.
func statusClass(code int) error {
	switch {
	case code == http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case code == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case code == http.StatusNotFound:
		return errdefs.ErrNotFound
	case code == http.StatusTooManyRequests:
		return errdefs.ErrResourceExhausted
	case code >= http.StatusInternalServerError:
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrUnknown
}
