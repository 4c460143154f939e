package ovs

import "errors"

// ErrInvalid says that a flow or group is not one a switch can take: a field
// without its prerequisite, a cookie or group id outside the owner's range,
// two flows with the same table, priority and match.
var ErrInvalid = errors.New("invalid")
