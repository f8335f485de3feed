package module

import (
	"context"
	"crypto/tls"
)

// Role is what a caller may do. A role includes those below it.
type Role uint8

// The roles.
const (
	Anyone  Role = iota // nobody has been asked for a token, or it was none of ours
	Monitor             // may see how the enclave fares
	Manager             // may change what it does
)

func (r Role) String() string { return [...]string{"anyone", "monitor", "manager"}[r] }

// Caller is who asks.
type Caller struct {
	Role Role
	// Known reports whether the request had a token or another proof that is
	// somebody's here.
	Known bool
	// Token is the bearer token of the request, if there was one: for modules that
	// know tokens of their own.
	Token string
	// TLS is the connection.
	TLS *tls.ConnectionState
}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks, by the context of a request; nobody if it has none.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
