package ovs

import "hash/fnv"

// MakeCookie lays a cookie out: owner in bits 63..56, feature in 55..48, zero
// in 47..32, object in 31..0. An owner's flows are found by the mask [OwnerMask].
func MakeCookie(owner, feature uint8, object uint32) uint64 {
	return uint64(owner)<<56 | uint64(feature)<<48 | uint64(object)
}

// OwnerMask covers the owner's bits of a cookie.
const OwnerMask uint64 = 0xff << 56

// CookieOwner returns the owner of a cookie made by [MakeCookie].
func CookieOwner(cookie uint64) uint8 { return uint8(cookie >> 56) }

// CookieFeature returns the feature of a cookie made by [MakeCookie].
func CookieFeature(cookie uint64) uint8 { return uint8(cookie >> 48) }

// CookieObject returns the object of a cookie made by [MakeCookie].
func CookieObject(cookie uint64) uint32 { return uint32(cookie) }

// ObjectHash names an object in a cookie: the 32-bit FNV-1a hash of its id.
func ObjectHash(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return h.Sum32()
}
