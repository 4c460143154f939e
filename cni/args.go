package cni

import (
	"fmt"
	"strings"
)

// Pod is what kubelet's runtime tells about a pod in CNI_ARGS.
type Pod struct {
	Namespace        string `json:"namespace,omitempty"`        // K8S_POD_NAMESPACE
	Name             string `json:"name,omitempty"`             // K8S_POD_NAME
	UID              string `json:"uid,omitempty"`              // K8S_POD_UID
	InfraContainerID string `json:"infraContainerID,omitempty"` // K8S_POD_INFRA_CONTAINER_ID
}

// maxArgs bounds the length of CNI_ARGS in bytes.
const maxArgs = 16 << 10

// ParseArgs splits a CNI_ARGS value, "KEY=value;KEY=value", into its pairs
// (CNI spec 1.1, section 2, "Parameters"). Empty segments are skipped. A
// segment without a key or "=", and a key given twice with different values,
// are errors. The empty string gives an empty map.
func ParseArgs(s string) (map[string]string, error) {
	args := make(map[string]string)
	if len(s) > maxArgs {
		return nil, fmt.Errorf("CNI_ARGS has %d bytes, more than %d", len(s), maxArgs)
	}
	for seg := range strings.SplitSeq(s, ";") {
		if seg == "" {
			continue
		}
		key, value, ok := strings.Cut(seg, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("CNI_ARGS: %q is not KEY=value", clip(seg))
		}
		if old, dup := args[key]; dup && old != value {
			return nil, fmt.Errorf("CNI_ARGS: %s is both %q and %q", clip(key), clip(old), clip(value))
		}
		args[key] = value
	}
	return args, nil
}

// PodFromArgs picks the Kubernetes keys out of parsed CNI_ARGS.
func PodFromArgs(args map[string]string) Pod {
	return Pod{
		Namespace:        args["K8S_POD_NAMESPACE"],
		Name:             args["K8S_POD_NAME"],
		UID:              args["K8S_POD_UID"],
		InfraContainerID: args["K8S_POD_INFRA_CONTAINER_ID"],
	}
}
