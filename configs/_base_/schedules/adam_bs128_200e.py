_base_ = './adam_bs128_12e.py'

# Adam, total batch 128, 200 epochs, the rate quartered four times: PredSim on Fashion-MNIST.
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(
    type='MultiStepLR', milestones=[100, 150, 175, 188], gamma=0.25, by_epoch=True
)
train_cfg = dict(max_epochs=200)
