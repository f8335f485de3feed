package wire

import "embed"

// Source is this package's text, for the overlay that carries it into the Go
// runtime of an image.
//
//go:embed addr.go data.go rpc.go wire.go
var Source embed.FS
