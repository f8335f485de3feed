package boot

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/enclaveos/eos/pkg/runtime/module"
)

// callerOf finds out who asks. A token that is not the operator's may be one of a
// module's.
func (r *Runtime) callerOf(req *http.Request) module.Caller {
	c := module.Caller{TLS: req.TLS}
	auth := req.Header.Values("Authorization")
	if len(auth) != 1 {
		return c
	}
	scheme, token, ok := strings.Cut(auth[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return c
	}
	c.Token = token
	if hash := sha256.Sum256([]byte(token)); r.operator != nil && subtle.ConstantTimeCompare(hash[:], r.operator) == 1 {
		c.Known, c.Role = true, module.Manager
	}
	return c
}

// need lets callers of at least that role in. Everybody else is refused before
// anything of the body is read.
func (r *Runtime) need(role module.Role, h http.HandlerFunc) http.HandlerFunc {
	if role == module.Anyone {
		return h
	}
	return func(w http.ResponseWriter, req *http.Request) {
		c := module.CallerOf(req.Context())
		switch {
		case c.Role >= role:
			h(w, req)
		case c.Known:
			fail(w, http.StatusForbidden, "this needs the role "+role.String())
		case r.operator == nil:
			fail(w, http.StatusForbidden, "this enclave has no operator, so nobody may ask for this")
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="eos"`)
			fail(w, http.StatusUnauthorized, "this needs the operator's token")
		}
	}
}
