# Loaders of a data set of official files; the recipes' batch is 1024 in all.
train_dataloader = dict(
    batch_size=1024,  # per process; the recipe is for one, or for 1024 in all
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', verify=True),
)

val_dataloader = dict(
    batch_size=1024,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', verify=True),
)

val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
