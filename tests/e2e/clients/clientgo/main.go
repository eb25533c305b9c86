// Exercises a server through client-go, in JSON or in protobuf: one step a run, an error is what went wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
)

type run struct {
	ctx       context.Context
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

var steps = map[string]func(run) error{
	"crud":       crud,
	"patches":    patches,
	"apply":      apply,
	"watch":      watching,
	"informers":  informing,
	"metadata":   metadataOnly,
	"chunks":     chunks,
	"refusals":   refusals,
	"subs":       subresources,
	"discovery":  discovering,
	"leadership": leadership,
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the server")
	namespace := flag.String("namespace", "default", "where to work")
	protobuf := flag.Bool("protobuf", false, "send and accept protobuf alone")
	flag.Parse()
	step, known := steps[flag.Arg(0)]
	if !known {
		names := make([]string, 0, len(steps))
		for name := range steps {
			names = append(names, name)
		}
		sort.Strings(names)
		fail(fmt.Errorf("a step is needed: %v", names))
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	fail(err)
	config.QPS = -1
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	if *protobuf {
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	client, err := kubernetes.NewForConfig(config)
	fail(err)
	fail(step(run{ctx, config, client, *namespace}))
	fmt.Println("ok")
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(wanted bool, format string, args ...any) error {
	if wanted {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"made-by": "client-go"}},
		Data:       data,
		BinaryData: map[string][]byte{"raw": {0, 1, 255}},
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
			},
		},
	}
}

func crud(r run) error {
	maps := r.client.CoreV1().ConfigMaps(r.namespace)
	made, err := maps.Create(r.ctx, configMap("crud", map[string]string{"a": "1"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := check(made.UID != "" && made.ResourceVersion != "" && !made.CreationTimestamp.IsZero(), "unstamped: %v", made); err != nil {
		return err
	}
	stale := made.DeepCopy()
	made.Data["a"] = "2"
	changed, err := maps.Update(r.ctx, made, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	got, err := maps.Get(r.ctx, "crud", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := check(got.Data["a"] == "2" && len(got.BinaryData["raw"]) == 3 && got.ResourceVersion == changed.ResourceVersion, "got %v", got); err != nil {
		return err
	}
	stale.Data["a"] = "3"
	if _, err := maps.Update(r.ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update gave %v", err)
	}
	other := types.UID("other")
	err = maps.Delete(r.ctx, "crud", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("a delete of another uid gave %v", err)
	}
	if err := maps.Delete(r.ctx, "crud", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &got.UID}}); err != nil {
		return err
	}
	for _, name := range []string{"one", "two"} {
		if _, err := maps.Create(r.ctx, configMap(name, nil), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	selected := metav1.ListOptions{LabelSelector: "made-by=client-go"}
	if err := maps.DeleteCollection(r.ctx, metav1.DeleteOptions{}, selected); err != nil {
		return err
	}
	left, err := maps.List(r.ctx, selected)
	if err != nil {
		return err
	}
	if err := check(len(left.Items) == 0, "left over: %v", left.Items); err != nil {
		return err
	}
	secret, err := r.client.CoreV1().Secrets(r.namespace).Create(r.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "secret-"}, StringData: map[string]string{"k": "v"},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return check(string(secret.Data["k"]) == "v" && len(secret.Name) > len("secret-"), "secret: %v", secret.ObjectMeta)
}

func patches(r run) error {
	apps := r.client.AppsV1().Deployments(r.namespace)
	if _, err := apps.Create(r.ctx, deployment("patched", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, patch := range []struct {
		kind types.PatchType
		body string
	}{
		{types.MergePatchType, `{"metadata":{"labels":{"a":"1"}}}`},
		{types.JSONPatchType, `[{"op":"add","path":"/metadata/labels/b","value":"2"}]`},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"busybox:2"}]}}}}`},
	} {
		if _, err := apps.Patch(r.ctx, "patched", patch.kind, []byte(patch.body), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", patch.kind, err)
		}
	}
	got, err := apps.Get(r.ctx, "patched", metav1.GetOptions{})
	if err != nil {
		return err
	}
	return check(got.Labels["a"] == "1" && got.Labels["b"] == "2" && got.Spec.Template.Spec.Containers[0].Image == "busybox:2",
		"patched: %v", got)
}

func apply(r run) error {
	apps := r.client.AppsV1().Deployments(r.namespace)
	labels := map[string]string{"app": "applied"}
	wanted := appsapply.Deployment("applied", r.namespace).WithSpec(appsapply.DeploymentSpec().
		WithReplicas(0).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).
			WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("busybox")))))
	first, err := apps.Apply(r.ctx, wanted, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		return err
	}
	again, err := apps.Apply(r.ctx, wanted, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		return err
	}
	if err := check(first.Generation == again.Generation, "generation %d then %d", first.Generation, again.Generation); err != nil {
		return err
	}
	// Only what one manager applied: the same object read back from its managed fields.
	extracted, err := appsapply.ExtractDeployment(again, "one")
	if err != nil {
		return err
	}
	if err := check(*extracted.Spec.Replicas == 0 && len(extracted.Spec.Template.Spec.Containers) == 1, "extracted %v", extracted); err != nil {
		return err
	}
	rival := appsapply.Deployment("applied", r.namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(1))
	if _, err := apps.Apply(r.ctx, rival, metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a conflicting apply gave %v", err)
	}
	taken, err := apps.Apply(r.ctx, rival, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return err
	}
	return check(*taken.Spec.Replicas == 1, "replicas %d", *taken.Spec.Replicas)
}

func watching(r run) error {
	maps := r.client.CoreV1().ConfigMaps(r.namespace)
	listed, err := maps.List(r.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	seen, err := maps.Watch(r.ctx, metav1.ListOptions{ResourceVersion: listed.ResourceVersion, FieldSelector: "metadata.name=watched"})
	if err != nil {
		return err
	}
	defer seen.Stop()
	made, err := maps.Create(r.ctx, configMap("watched", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Data = map[string]string{"a": "1"}
	if _, err := maps.Update(r.ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(r.ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, wanted := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		event, open := <-seen.ResultChan()
		if err := check(open && event.Type == wanted && event.Object.(*corev1.ConfigMap).Name == "watched", "%v instead of %s", event, wanted); err != nil {
			return err
		}
	}
	yes := true
	initial, err := maps.Watch(r.ctx, metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		return err
	}
	defer initial.Stop()
	for event := range initial.ResultChan() {
		if event.Type == watch.Bookmark {
			annotations := event.Object.(*corev1.ConfigMap).Annotations
			return check(annotations[metav1.InitialEventsAnnotationKey] == "true", "bookmark with %v", annotations)
		}
		if event.Type != watch.Added {
			return fmt.Errorf("%v before the initial events' end", event)
		}
	}
	return errors.New("the watch ended before its initial events")
}

func informing(r run) error {
	maps := r.client.CoreV1().ConfigMaps(r.namespace)
	if _, err := maps.Create(r.ctx, configMap("before", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(r.client, 0, informers.WithNamespace(r.namespace))
	informer := factory.Core().V1().ConfigMaps()
	seen := make(chan string, 100)
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { seen <- "add " + obj.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, obj any) { seen <- "update " + obj.(*corev1.ConfigMap).Name },
		DeleteFunc: func(obj any) { seen <- "delete " + obj.(*corev1.ConfigMap).Name },
	})
	if err != nil {
		return err
	}
	pods := factory.Core().V1().Pods().Informer()
	factory.Start(r.ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(r.ctx.Done()) {
		if !synced {
			return fmt.Errorf("%s did not sync", kind)
		}
	}
	if _, err := informer.Lister().ConfigMaps(r.namespace).Get("before"); err != nil {
		return err
	}
	made, err := maps.Create(r.ctx, configMap("after", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Data = map[string]string{"a": "1"}
	if _, err := maps.Update(r.ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(r.ctx, "after", metav1.DeleteOptions{}); err != nil {
		return err
	}
	wanted := []string{"add after", "update after", "delete after"}
	for len(wanted) > 0 {
		select {
		case event := <-seen:
			if event == wanted[0] {
				wanted = wanted[1:]
			}
		case <-r.ctx.Done():
			return fmt.Errorf("still waiting for %v", wanted)
		}
	}
	return check(pods.HasSynced(), "pods have not synced")
}

func metadataOnly(r run) error {
	client, err := metadata.NewForConfig(r.config)
	if err != nil {
		return err
	}
	resource := corev1.SchemeGroupVersion.WithResource("configmaps")
	if _, err := r.client.CoreV1().ConfigMaps(r.namespace).Create(r.ctx, configMap("meta", map[string]string{"a": "b"}), metav1.CreateOptions{}); err != nil {
		return err
	}
	one, err := client.Resource(resource).Namespace(r.namespace).Get(r.ctx, "meta", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := check(one.Labels["made-by"] == "client-go", "labels %v", one.Labels); err != nil {
		return err
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, r.namespace, nil)
	informer := factory.ForResource(resource)
	informer.Informer()
	factory.Start(r.ctx.Done())
	factory.WaitForCacheSync(r.ctx.Done())
	_, err = informer.Lister().ByNamespace(r.namespace).Get("meta")
	return err
}

func chunks(r run) error {
	maps := r.client.CoreV1().ConfigMaps(r.namespace)
	const many = 25
	for number := range many {
		if _, err := maps.Create(r.ctx, configMap(fmt.Sprintf("chunk-%02d", number), nil), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	selected := metav1.ListOptions{LabelSelector: "made-by=client-go", Limit: 10}
	pages := 0
	lister := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		pages++
		return maps.List(ctx, options)
	})
	lister.PageSize = 10
	found := map[string]bool{}
	err := lister.EachListItem(r.ctx, selected, func(obj runtime.Object) error {
		found[obj.(*corev1.ConfigMap).Name] = true
		return nil
	})
	if err != nil {
		return err
	}
	if err := check(len(found) == many && pages == 3, "%d objects in %d pages", len(found), pages); err != nil {
		return err
	}
	first, err := maps.List(r.ctx, metav1.ListOptions{Limit: 10})
	if err != nil {
		return err
	}
	return check(first.Continue != "" && first.RemainingItemCount != nil && *first.RemainingItemCount >= 15, "list meta %v", first.ListMeta)
}

func refusals(r run) error {
	maps := r.client.CoreV1().ConfigMaps(r.namespace)
	if _, err := maps.Get(r.ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("get of nothing: %v", err)
	}
	if _, err := maps.Create(r.ctx, configMap("twice", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := maps.Create(r.ctx, configMap("twice", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("created twice: %v", err)
	}
	_, err := maps.Create(r.ctx, configMap("Not_A_Name", nil), metav1.CreateOptions{})
	var status *apierrors.StatusError
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		return fmt.Errorf("a bad name: %v", err)
	}
	causes := status.ErrStatus.Details.Causes
	if err := check(len(causes) == 1 && causes[0].Field == "metadata.name", "causes %v", causes); err != nil {
		return err
	}
	if !apierrors.HasStatusCause(err, metav1.CauseTypeFieldValueInvalid) {
		return fmt.Errorf("no cause of that type: %v", err)
	}
	_, err = maps.List(r.ctx, metav1.ListOptions{ResourceVersion: "999999999"})
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return fmt.Errorf("a resource version of the future: %v", err)
	}
	anonymous := rest.AnonymousClientConfig(r.config)
	nobody, err := kubernetes.NewForConfig(anonymous)
	if err != nil {
		return err
	}
	if _, err := nobody.CoreV1().Secrets(r.namespace).List(r.ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		return fmt.Errorf("anonymous: %v", err)
	}
	return nil
}

func subresources(r run) error {
	apps := r.client.AppsV1().Deployments(r.namespace)
	if _, err := apps.Create(r.ctx, deployment("scaled", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	scale, err := apps.GetScale(r.ctx, "scaled", metav1.GetOptions{})
	if err != nil {
		return err
	}
	scale.Spec.Replicas = 1
	scale.ResourceVersion = ""
	if scale, err = apps.UpdateScale(r.ctx, "scaled", scale, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := check(scale.Spec.Replicas == 1, "scale %v", scale.Spec); err != nil {
		return err
	}
	accounts := r.client.CoreV1().ServiceAccounts(r.namespace)
	if _, err := accounts.Create(r.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	token, err := accounts.CreateToken(r.ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := check(token.Status.Token != "", "no token"); err != nil {
		return err
	}
	review, err := r.client.AuthenticationV1().TokenReviews().Create(r.ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := check(review.Status.Authenticated, "review %v", review.Status); err != nil {
		return err
	}
	pods := r.client.CoreV1().Pods(r.namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "evicted"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}, NodeName: "nowhere"}}
	if _, err := pods.Create(r.ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	return pods.EvictV1(r.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted", Namespace: r.namespace}})
}

func discovering(r run) error {
	lists, err := r.client.Discovery().ServerPreferredResources()
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			found[list.GroupVersion+" "+resource.Kind] = true
		}
	}
	if err := check(found["v1 Pod"] && found["apps/v1 Deployment"], "preferred resources: %v", found); err != nil {
		return err
	}
	paths, err := r.client.Discovery().OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	if _, known := paths["apis/apps/v1"]; !known {
		return fmt.Errorf("OpenAPI v3 paths: %v", paths)
	}
	document, err := r.client.Discovery().OpenAPISchema()
	if err != nil {
		return err
	}
	return check(len(document.Definitions.AdditionalProperties) > 100, "%d definitions", len(document.Definitions.AdditionalProperties))
}

func leadership(r run) error {
	elected := make(chan string, 2)
	lead := func(ctx context.Context, name string) error {
		lock, err := resourcelock.New(resourcelock.LeasesResourceLock, r.namespace, "leader",
			r.client.CoreV1(), r.client.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
		if err != nil {
			return err
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 300 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { elected <- name },
				OnStoppedLeading: func() {},
			},
		})
		if err == nil {
			elector.Run(ctx)
		}
		return err
	}
	first, resign := context.WithCancel(r.ctx)
	go lead(first, "first")
	if name := <-elected; name != "first" {
		return fmt.Errorf("%s leads", name)
	}
	second, stop := context.WithCancel(r.ctx)
	defer stop()
	go lead(second, "second")
	resign()
	select {
	case name := <-elected:
		return check(name == "second", "%s leads", name)
	case <-r.ctx.Done():
		return errors.New("nobody took over")
	}
}
