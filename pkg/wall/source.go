package wall

import "embed"

// Source is this package's text, for the overlay that carries it into the Go
// runtime of an image.
//
//go:embed layout.go wall.go
var Source embed.FS
