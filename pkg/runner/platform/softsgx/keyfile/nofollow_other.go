//go:build !unix

package keyfile

const openNoFollow = 0
