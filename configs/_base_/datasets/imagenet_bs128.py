_base_ = './imagenet.py'

# Per process, as MAN++ trains vision transformers.
train_dataloader = dict(batch_size=128)
